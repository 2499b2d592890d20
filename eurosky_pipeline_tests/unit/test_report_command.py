"""`eurosky report` and `eurosky stats`: what a person reads, what a program reads, and the page."""

from __future__ import annotations

import json
import re
import stat
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.analytics import plots
from eurosky_pipeline.cli.main import main
from eurosky_pipeline.errors import SettingsError, TransientError
from eurosky_pipeline.registry.ledger import Outcome
from eurosky_pipeline.registry.purge import open_purge
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.unit.test_analytics import BEGAN, add, blob, lost

pytestmark = pytest.mark.usefixtures("settings_in_environment")
HOSTILE = '</td><script src="https://evil.example/x.js"></script>\x1b[31m'


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    told = capsys.readouterr()
    return int(left.value.code or 0), told.out, told.err


class _Page(HTMLParser):
    """What a browser would run or fetch, and what it would show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def moved(registry: Registry) -> str:
    """A migration of which two blobs did not arrive, one of them with a reason that a hostile host has made up."""
    token = add(registry, "one", handle="one.example")
    registry.acquire_lease(token, "run-1", 90)
    registry.record(token, {"blobs_total": 4, "reconciliation_status": "partial"}, [blob(1), blob(2)])
    registry.record(token, {}, [lost(3), lost(4, error_code="odd", error_text=HOSTILE)])
    registry.release_leases("run-1")
    return token


def test_it_names_the_blobs_that_are_not_there_and_why(moved: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "report", moved)
    assert code == 0
    assert "2 of 4 that were tried (50.0%)" in out
    for number in (3, 4):
        assert str(lost(number).blob_cid) in out
    assert "3 is gone" in out
    assert "one.example" in out
    assert "\x1b" not in out


def test_its_json_is_one_value_of_plain_types(moved: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "report", moved, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["token"], found["blobs_total"]) == (moved, 4)
    assert found["blobs"] == {"at_destination": 2, "tried": 4, "left": 0}
    assert [failure["blobs"] for failure in found["failures"]] == [1, 1]
    assert {row["blob_cid"] for row in found["not_there"]} == {str(lost(3).blob_cid), str(lost(4).blob_cid)}
    assert found["attempts"][0]["run_id"] == "run-1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["created_at"])


def test_the_page_is_one_file_that_fetches_nothing_and_runs_nothing(
    moved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.html"
    code, out, err = run(capsys, "report", moved, "--html", str(path))
    assert (code, out) == (0, "")
    assert str(path) in err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    page = _Page()
    page.feed(path.read_text())
    assert "script" not in page.tags
    assert [address for address in page.addresses if not address.startswith("#")] == []
    assert "@import" not in path.read_text()
    assert page.tags.count("svg") == 6
    assert "evil.example" in page.text  # told, as text
    assert str(lost(3).blob_cid) in page.text


def test_a_migration_that_has_not_begun_is_reported_too(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = add(registry, "new")
    assert run(capsys, "report", token)[0] == 0
    assert run(capsys, "report", token, "--html", str(tmp_path / "new.html"))[0] == 0
    assert "nothing to show yet" in (tmp_path / "new.html").read_text()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["report", "EURO-" + "A" * 16], 1, "there is no migration"),
        (["report", "EURO-" + "A" * 16, "--every", "soon"], 2, "no span of time"),
        (["stats", "--state", "lost"], 2, "a state is one of"),
        (["stats", "--newer-than", "x"], 2, "no span of time"),
    ],
)
def test_what_cannot_be_told_is_told_so(
    registry: Registry, words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, *words)
    assert (found[0], text in found[2]) == (code, True), found


def moments(found: Any) -> list[datetime]:
    return [datetime.fromisoformat(row["moment"]) for row in found["progress"]]


def test_the_interval_is_such_that_the_bars_can_be_read(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    token = add(registry, "one")
    registry.record(token, {}, [blob(number) for number in range(0, 102, 3)])  # 101 s in all
    found = json.loads(run(capsys, "report", token, "--json")[1])
    assert (found["every_s"], found["progress"][-1]["blobs_settled"]) == (2, 34)
    assert moments(found)[0] - timedelta(seconds=2) >= BEGAN
    asked = json.loads(run(capsys, "report", token, "--json", "--every", "1m")[1])
    assert (asked["every_s"], len(moments(asked))) == (60, 2)


def test_the_page_draws_the_same_interval(
    moved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[object] = []

    def draw(_: object, every: timedelta) -> None:
        drawn.append(every)
        raise SettingsError("that is all")

    monkeypatch.setattr(plots, "throughput", draw)
    run(capsys, "report", moved, "--html", str(tmp_path / "a.html"))
    run(capsys, "report", moved, "--html", str(tmp_path / "b.html"), "--every", "5m")
    assert drawn == [timedelta(seconds=1), timedelta(minutes=5)]


def test_the_pace_is_of_the_time_in_which_blobs_arrived_and_says_so(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    token = add(registry, "one")
    registry.record(token, {}, [blob(0), blob(2)])
    assert re.search(r"0\.5 blobs/s, \d+ B/s in the 4\.00 s in which blobs arrived +│", run(capsys, "report", token)[1])
    registry.record(token, {}, [lost(3, ended_at=BEGAN + timedelta(seconds=18))])
    assert "in which blobs arrived; with tries in vain, 18 s" in run(capsys, "report", token)[1]


def test_several_attempts_are_told_one_by_one_the_last_ten(
    registry: Registry, moved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the attempts" not in run(capsys, "report", moved)[1]
    for number in range(2, 13):
        registry.resume(moved)
        registry.acquire_lease(moved, f"run-{number}", 90)
        registry.fail(moved, TransientError("it is down", code=f"down_{number}"))
        registry.release_leases(f"run-{number}")
    out = run(capsys, "report", moved)[1]
    assert "the attempts, the last 10 of 12" in out
    rows = re.findall(r"│ (\d+) +│ 2.*│ failed +│ (down_\d+)", out)
    assert rows == [(str(number), f"down_{number}") for number in range(3, 13)]


def test_an_interval_of_which_there_would_be_thousands_is_refused(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    token = add(registry, "one")
    registry.record(token, {}, [blob(0), blob(2_100)])
    refused = run(capsys, "report", token, "--json", "--every", "1s")
    assert (refused[0], json.loads(refused[1])["error"]["code"]) == (1, "interval_invalid")
    assert run(capsys, "report", token, "--json", "--every", "10s")[0] == 0


def test_a_purged_migration_is_not_said_to_have_lost_nothing(
    moved: str, settings: Settings, sql, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql("UPDATE migrations SET state = 'pending_prefs'")
    purge = open_purge(settings)
    with purge.held(moved) as holder:
        purge.erase(moved, holder)
    purge.close()
    out = run(capsys, "report", moved)[1]
    assert "0 of 4, as it stood when it was purged on 20" in out
    assert "which blobs did not arrive is not known any more" in out
    assert "every blob" not in out
    run(capsys, "report", moved, "--html", str(tmp_path / "purged.html"))
    assert "is not known any more" in (tmp_path / "purged.html").read_text()


def test_a_folder_that_there_is_not_is_named(moved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "report", moved, "--html", str(tmp_path / "nowhere" / "r.html"))
    assert (code, "there is no folder" in err) == (1, True)


def test_stats_count_by_state_host_and_reason(
    registry: Registry, moved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = add(registry, "two")
    registry.fail(failed, TransientError("it is down", code="host_unreachable"))
    code, out, _ = run(capsys, "stats", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["migrations"] == {"pending_repo": 1, "failed": 1}
    assert found["blobs"] == {"at_destination": 2, "tried": 4}
    assert found["by_destination"] == [
        {"destination_pds": "https://new.example", "migrations": 2, "finished": 0, "failed": 1, "waiting": 0}
    ]
    assert [(error["error_code"], error["migrations"]) for error in found["errors"]] == [("host_unreachable", 1)]
    assert {failure["outcome"] for failure in found["failures"]} == {Outcome.MISSING_AT_SOURCE}
    text = run(capsys, "stats")[1]
    assert "1 pending_repo, 1 failed" in text
    assert "it is down" in text


def test_stats_are_of_those_that_are_asked_for(
    registry: Registry, moved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(registry, "two")

    def counted(*words: str) -> Any:
        return json.loads(run(capsys, "stats", "--json", *words)[1])

    assert counted("--state", "failed")["migrations"] == {}
    assert counted("--host", "https://other.example")["blobs"]["tried"] == 0
    assert counted("--host", "https://new.example")["migrations"] == {"pending_repo": 2}
    assert counted("--newer-than", "1d")["blobs"]["tried"] == 4
