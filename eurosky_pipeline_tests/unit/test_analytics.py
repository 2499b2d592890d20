"""The frames on both databases: what is in them, their dtypes, and what reading them costs and does not do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import eurosky_pipeline
from eurosky_pipeline import analytics
from eurosky_pipeline.analytics.columns import ATTEMPTS, BLOBS, FRAMES, MIGRATIONS, PROGRESS, Column, documented
from eurosky_pipeline.analytics.reading import opened
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.errors import SettingsError, TransientError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.postgres import settings_of

OLD, NEW = "https://old.example", "https://new.example"
BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def add(registry: Registry, name: str, **changes: Any) -> str:
    did = f"did:plc:{name:a<24}"
    return registry.add(NewMigration(did=did, source_pds=OLD, destination_pds=NEW, **changes), {}).token


def blob(number: int, outcome: Outcome = Outcome.TRANSFERRED, **changes: Any) -> BlobOutcome:
    """One that took 2 s, and began a second after the one before."""
    began = BEGAN + timedelta(seconds=number)
    values = {
        "size_bytes": 1000 + number,
        "mime_type": "image/jpeg",
        "attempts": 1,
        "started_at": began,
        "ended_at": began + timedelta(seconds=2),
        **changes,
    }
    return BlobOutcome(cid_of(str(number).encode()), outcome, **values)


def lost(number: int, **changes: Any) -> BlobOutcome:
    why = {"error_class": "permanent", "error_code": "blob_missing", "error_text": f"{number} is gone", **changes}
    return blob(number, Outcome.MISSING_AT_SOURCE, **why)


def dtypes(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return [(str(name), str(dtype)) for name, dtype in frame.dtypes.items()]


def said(columns: Sequence[Column]) -> list[tuple[str, str]]:
    return [(column.name, column.dtype) for column in columns]


def test_without_a_registry_it_is_said_what_to_do_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        analytics.migrations(settings=settings_of(tmp_path / "home", None))
    assert (caught.value.code, "eurosky demo" in caught.value.hint) == ("nothing_yet", True)
    assert list(tmp_path.iterdir()) == []


def test_without_a_run_of_dagster_it_is_said_what_to_do_and_no_folder_is_made(tmp_path: Path) -> None:
    for read in (analytics.runs, analytics.asset_timings):
        with pytest.raises(SettingsError, match="Dagster has not run here yet"):
            read(settings=settings_of(tmp_path / "home", None))
    assert list(tmp_path.iterdir()) == []


def test_frames_without_a_row_have_their_columns_and_dtypes(settings: Settings, registry: Registry) -> None:
    assert dtypes(analytics.migrations(settings=settings)) == said(MIGRATIONS)
    assert dtypes(analytics.attempts(settings=settings)) == said(ATTEMPTS)
    assert dtypes(analytics.blobs(settings=settings)) == said(BLOBS)
    assert dtypes(analytics.progress("EURO-" + "A" * 16, settings=settings)) == said(PROGRESS)
    assert list(analytics.blob_chunks(settings=settings)) == []


def test_a_migration_is_a_row_with_the_figures_of_its_progress(settings: Settings, registry: Registry) -> None:
    first = add(registry, "one", handle="one.example")
    second = add(registry, "two")
    started = "2026-01-01T12:00:00+00:00"
    registry.record(
        first, {"blobs_total": 7, "blobs_completed": 5, "bytes_transferred": 2**40, "blobs_started_at": started}
    )
    frame = analytics.migrations(settings=settings)
    assert dtypes(frame) == said(MIGRATIONS)
    assert list(frame["token"]) == [first, second]
    row = frame.iloc[0]
    assert (row["blobs_total"], row["blobs_completed"], row["bytes_transferred"]) == (7, 5, 2**40)
    assert (row["handle"], row["state"], row["blobs_started_at"]) == ("one.example", "pending_repo", BEGAN)
    assert frame.iloc[1][["handle", "blobs_total", "blobs_started_at"]].isna().all()


def test_migrations_are_chosen_by_the_database(settings: Settings, registry: Registry) -> None:
    one, two = add(registry, "one"), add(registry, "two")
    registry.fail(two, TransientError("down", code="host_down"))
    since = registry.get(two).created_at

    def found(**wanted: Any) -> list[str]:
        return list(analytics.migrations(analytics.Wanted(**wanted), settings=settings, columns=["token"])["token"])

    assert found(states=(State.FAILED,)) == [two]
    assert found(created_after=since) == [two]
    assert found(host=NEW) == [one, two]
    assert found(host="https://other.example") == []


def test_a_column_that_there_is_not_is_named_with_those_that_there_are(settings: Settings, registry: Registry) -> None:
    with pytest.raises(SettingsError, match="there is no column 'size'") as caught:
        analytics.blobs(settings=settings, columns=["size"])
    assert "size_bytes" in caught.value.hint


def test_the_ledger_is_a_frame_in_which_what_arrived_has_no_error(settings: Settings, registry: Registry) -> None:
    token = add(registry, "one")
    registry.record(token, {}, [blob(1), lost(2)])
    frame = analytics.blobs(token, settings=settings).sort_values("started_at")
    assert dtypes(frame) == said(BLOBS)
    assert list(frame["outcome"]) == ["transferred", "missing_at_source"]
    assert list(frame["duration_s"]) == [2.0, 2.0]
    assert frame["error_code"].isna().tolist() == [True, False]
    assert frame.iloc[1]["error_text"] == "2 is gone"


def test_chunks_hold_every_row_once_whatever_their_size(settings: Settings, registry: Registry) -> None:
    tokens = [add(registry, name) for name in ("one", "two", "three")]
    for token in tokens:
        registry.record(token, {}, [blob(number) for number in range(7)])
    for rows in (1, 2, 7, 21, 100):
        chunks = list(analytics.blob_chunks(rows=rows, settings=settings))
        assert max(map(len, chunks)) <= rows
        together = pd.concat(chunks)
        assert list(together.index) == list(range(21))
        assert len(set(zip(together["token"], together["blob_cid"], strict=True))) == 21


def test_the_whole_keeps_categories_that_only_some_chunks_have(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        analytics.frames.blob_chunks, "__kwdefaults__", analytics.frames.blob_chunks.__kwdefaults__ | {"rows": 2}
    )
    token = add(registry, "one")
    registry.record(token, {}, [blob(1), blob(2), blob(3), lost(4), blob(5, mime_type="video/mp4")])
    frame = analytics.blobs(token, settings=settings)
    assert dtypes(frame) == said(BLOBS)
    assert sorted(frame["outcome"]) == ["missing_at_source", *["transferred"] * 4]


def test_only_the_columns_that_are_asked_for_are_read_in_their_order(settings: Settings, registry: Registry) -> None:
    token = add(registry, "one")
    registry.record(token, {}, [blob(1), blob(2, Outcome.ALREADY_THERE), blob(900)])
    frame = analytics.blobs(
        token,
        columns=["duration_s", "size_bytes"],
        outcomes=[Outcome.TRANSFERRED],
        min_size_bytes=1002,
        settings=settings,
    )
    assert dtypes(frame) == [("duration_s", "Float64"), ("size_bytes", "Int64")]
    assert frame.to_numpy().tolist() == [[2.0, 1900]]


def test_progress_adds_up_what_was_settled_by_interval(settings: Settings, registry: Registry) -> None:
    token = add(registry, "one")
    registry.record(token, {}, [blob(number) for number in range(10)] + [lost(11), blob(60, Outcome.ALREADY_THERE)])
    frame = analytics.progress(token, every="10s", settings=settings)
    # blob n is settled at n + 2 s: 0..7 in the first interval, 8, 9 and 11 in the second, 60 in the seventh
    assert [moment.second + 60 * moment.minute for moment in frame["moment"]] == [10, 20, 70]
    assert list(frame["blobs_settled"]) == [8, 11, 12]
    assert list(frame["blobs_failed"]) == [0, 1, 1]
    assert list(frame["bytes_sent"]) == [sum(range(1000, 1008)), sum(range(1000, 1010)), sum(range(1000, 1010))]
    assert list(frame["blobs_per_s"]) == pytest.approx([0.8, 0.3, 0.1])


@pytest.mark.parametrize("every", ["soon", "0s", "-5s", "NaT", "", "1", "1ns"])
def test_an_interval_that_is_none_is_refused(settings: Settings, registry: Registry, every: str) -> None:
    with pytest.raises(SettingsError, match="no length of time"):
        analytics.progress("EURO-" + "A" * 16, every=every, settings=settings)


def test_the_success_rate_is_of_the_blobs_that_have_an_outcome(settings: Settings, registry: Registry) -> None:
    one, two = add(registry, "one"), add(registry, "two")
    registry.record(one, {}, [blob(1), blob(2, Outcome.ALREADY_THERE), lost(3)])
    registry.record(two, {}, [lost(4)])
    rate = analytics.success_rate(one, settings=settings)
    assert (rate.part, rate.whole, rate.share) == (2, 3, 2 / 3)
    assert analytics.success_rate(settings=settings).share == 0.5
    assert analytics.success_rate("EURO-" + "A" * 16, settings=settings).share is None


def test_throughput_is_of_what_was_transferred_from_first_to_last(settings: Settings, registry: Registry) -> None:
    token, other = add(registry, "one"), add(registry, "two")
    registry.record(token, {}, [blob(0), blob(8), lost(500), blob(900, Outcome.ALREADY_THERE)])
    registry.record(other, {}, [lost(1)])
    frame = analytics.throughput(settings=settings)
    assert list(frame.index) == [token]
    assert frame.loc[token].to_dict() == pytest.approx(
        {"blobs": 2, "size_bytes": 2008, "span_s": 10.0, "blobs_per_s": 0.2, "bytes_per_s": 200.8}
    )


def test_the_time_left_follows_the_pace_of_the_last_minutes(settings: Settings, registry: Registry) -> None:
    token = add(registry, "one")
    registry.record(token, {"blobs_total": 30}, [blob(number) for number in range(10)])
    left = analytics.time_left(token, settings=settings)
    assert (left.blobs_left, left.blobs_per_s) == (20, pytest.approx(1.0))
    assert left.seconds == pytest.approx(20)
    registry.record(token, {}, [blob(number) for number in range(4000, 4010)])  # an hour later, at the same pace
    assert analytics.time_left(token, settings=settings).seconds == pytest.approx(10)


def test_the_time_left_is_nothing_at_the_end_and_unknown_at_the_beginning(
    settings: Settings, registry: Registry
) -> None:
    token = add(registry, "one")
    assert analytics.time_left(token, settings=settings).seconds == 0
    registry.record(token, {"blobs_total": 2})
    assert analytics.time_left(token, settings=settings).seconds is None
    registry.record(token, {}, [blob(1), blob(2)])
    assert analytics.time_left(token, settings=settings).seconds == 0


def test_failures_are_counted_by_why_the_most_frequent_first(settings: Settings, registry: Registry) -> None:
    token = add(registry, "one")
    big = blob(9, Outcome.TOO_LARGE, error_class="permanent", error_code="too_large", error_text="9 is too large")
    registry.record(token, {}, [blob(1), lost(2), lost(3), big])
    frame = analytics.failures_by_class(settings=settings)
    assert frame.to_numpy().tolist() == [
        ["missing_at_source", "permanent", "blob_missing", 2, 2005, "2 is gone"],
        ["too_large", "permanent", "too_large", 1, 1009, "9 is too large"],
    ]
    assert len(analytics.failures_by_class("EURO-" + "A" * 16, settings=settings)) == 0


def test_a_wait_lasts_until_the_next_attempt_or_until_now(settings: Settings, registry: Registry, sql: Any) -> None:
    one, two = add(registry, "one"), add(registry, "two")
    for token in (one, two):
        registry.acquire_lease(token, f"run-{token}", 90)
        registry.wait(token, datetime.now(UTC) + timedelta(hours=1), TransientError("limit", code="rate_limited"))
        registry.release_leases(f"run-{token}")
    registry.retry(one)
    registry.acquire_lease(one, "later", 90)
    for number, column, moment in ((1, "ended_at", BEGAN), (2, "started_at", BEGAN + timedelta(seconds=90))):
        sql(
            f"UPDATE attempts SET {column} = :moment WHERE token = :token AND number = :number",
            moment=moment if settings.database_url else moment.replace(tzinfo=None).isoformat(" "),
            token=one,
            number=number,
        )
    frame = analytics.rate_limit_waits(settings=settings).set_index("token")
    assert (frame.loc[one, "error_code"], frame.loc[one, "waited_s"]) == ("rate_limited", 90.0)
    assert 0 <= frame.loc[two, "waited_s"] < 600
    assert list(analytics.rate_limit_waits(one, settings=settings)["number"]) == [1]


def test_who_reads_cannot_write_and_waits_for_nobody_who_does(settings: Settings, registry: Registry) -> None:
    token = add(registry, "one")
    with opened(settings) as engine, engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM migrations")).scalar() == 1
        registry.record(token, {"blobs_total": 3})  # while a reading transaction is open
        with pytest.raises(DBAPIError):
            connection.execute(text("UPDATE migrations SET state = 'failed'"))
    assert registry.get(token).state is State.PENDING_REPO


def test_every_column_is_documented_with_its_unit_and_meaning() -> None:
    for name, columns in FRAMES.items():
        assert len({column.name for column in columns}) == len(columns)
        assert all(column.meaning for column in columns)
        assert all(column.unit for column in columns if column.name.endswith(("_s", "_bytes", "_at")))
        assert documented(name).count("\n") == len(columns) + 1


def test_the_page_has_every_frame_measure_and_column_and_no_other() -> None:
    page = (Path(eurosky_pipeline.__file__).parents[1] / "docs" / "analytics.md").read_text()
    assert all(documented(name) in page for name in FRAMES)
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == list(FRAMES)
    named = set(re.findall(r"`(?:analytics\.)?(\w+)\(", page))
    assert named == {*analytics.__all__, "Wanted"}
