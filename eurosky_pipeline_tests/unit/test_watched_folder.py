"""The folder for lists: what is taken out of it and when, and what is left of a list."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake import claimed_list, folder
from eurosky_pipeline.intake.folder import FolderError, moment_of
from eurosky_pipeline.intake.watched_folder import WatchedFolder
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, Registered, Reply
from eurosky_pipeline_tests.registering import did_of
from eurosky_pipeline_tests.unit.list_folder import (
    HEADER,
    HOSTS,
    PASSWORD,
    Book,
    files,
    only,
    row,
    rows,
    take_at_once,
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return take_at_once(tmp_path, monkeypatch)


@pytest.fixture
def book(path: Path) -> Book:
    return Book(path)


def test_a_list_is_taken_and_nothing_but_its_result_stays(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{rows(1, 2, 3, 4)}")
    assert book.tick() == [(f"accounts.csv line {line}", Reply.ADDED) for line in (2, 3, 4, 5)]
    assert files(path) == ["taken/accounts.csv.result.json"]
    file = only(path, "taken/*.json")
    result = json.loads(file.read_text())
    assert (result["list"], result["added"], result["unchanged"], result["rejected"]) == ("accounts.csv", 4, 0, [])
    assert result["accounts"] == [{"line": line, "outcome": "added", "token": "EURO-1"} for line in (2, 3, 4, 5)]
    assert result["taken_at"] == moment_of(file.name.removesuffix(".result.json"))
    assert result["rejected_rows"] is None
    assert PASSWORD not in file.read_text()
    assert book.passwords[did_of(1)] == SecretStr(f"{PASSWORD}-1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert book.told == [f"accounts.csv: 4 added, 0 unchanged, 0 rejected; taken/{file.name}"]
    assert book.tick() == []


def test_rows_that_are_rejected_are_kept_as_they_were_in_a_list_that_can_be_put_back(book: Book, path: Path) -> None:
    broken = f'bad"row,{HOSTS},x\n'
    (path / "accounts.csv").write_text(
        f"\n\n{HEADER}\r\n{row(1)}\n{row(2, 'bad2')}{broken}{row(3)}{row(4, 'bad4')[:-1]}"
    )
    assert [reply for _, reply in book.tick()] == [Reply.ADDED, Reply.REJECTED, Reply.ADDED, Reply.REJECTED]
    rejected = only(path, "rejected/*.csv")
    assert rejected.read_bytes().decode() == f"\n\n{HEADER}\r\n{row(2, 'bad2')}{broken}{row(4, 'bad4')}"
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600
    result = json.loads(only(path, "taken/*.json").read_text())
    assert [(item["line"], item["line_in_rejected"]) for item in result["rejected"]] == [(6, 4), (7, 5), (9, 6)]
    assert result["rejected"][0]["reason"] == "it is bad"
    assert result["rejected_rows"] == f"rejected/{rejected.name}"
    assert files(path) == ["rejected/accounts.csv", "taken/accounts.csv.result.json"]

    rejected.write_text(rejected.read_text().replace(broken, "").replace("bad2", did_of(2)).replace("bad4", did_of(4)))
    rejected.rename(path / rejected.name)
    assert [reply for _, reply in book.tick()] == [Reply.ADDED, Reply.ADDED]
    assert files(path) == ["taken/accounts.csv.result.json"] * 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"did,passwort\nx,y\n", "columns that are unknown"),
        (b"\xff\xfed\x00", "UTF-16"),
        (b"hello\n", "does not begin with the names of its columns"),
        (b"\xff\xff\xff\n", "does not begin with a line of text"),
    ],
    ids=["unknown column", "UTF-16", "no header", "no text"],
)
def test_a_file_that_is_no_list_is_moved_away_whole_and_why_is_said(
    book: Book, path: Path, content: bytes, told: str
) -> None:
    (path / "accounts.csv").write_bytes(content)
    (path / "accounts.csv").chmod(0o644)
    assert book.tick() == []
    assert files(path) == ["rejected/accounts.csv", "rejected/accounts.csv.result.json"]
    assert only(path, "rejected/*.csv").read_bytes() == content
    assert stat.S_IMODE(only(path, "rejected/*.csv").stat().st_mode) == 0o600
    result = json.loads(only(path, "rejected/*.json").read_text())
    assert told in result["fault"]
    assert "_env" not in result["fault"], "no list in the folder names variables of this machine"
    assert told in book.told[0]


def test_a_list_whose_rows_are_all_rejected_has_its_result_beside_them(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{row(1, 'bad')}")
    book.tick()
    assert files(path) == ["rejected/accounts.csv", "rejected/accounts.csv.result.json"]


def test_a_list_that_is_too_long_is_moved_away_unread(book: Book, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claimed_list, "MAX_LIST_BYTES", 100)
    (path / "accounts.csv").write_text(f"{HEADER}\n{rows(1, 2)}")
    assert book.tick() == []
    assert "split it" in book.told[0]
    assert files(path) == ["rejected/accounts.csv", "rejected/accounts.csv.result.json"]


def test_json_lines_are_taken_too(book: Book, path: Path) -> None:
    values = dict(zip(HEADER.split(","), row(1).strip().split(","), strict=True))
    lines = [values, {**values, "did": "bad"}, {**values, "did": did_of(2), "nonsense": PASSWORD}]
    (path / "accounts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "no json\n")
    assert [reply for _, reply in book.tick()] == [Reply.ADDED, Reply.REJECTED]
    kept = only(path, "rejected/*.jsonl").read_text().splitlines()
    assert [json.loads(kept[0]), json.loads(kept[1]), kept[2]] == [lines[1], lines[2], "no json"]


def test_the_names_of_variables_in_a_list_are_offered_as_they_are_to_be_refused(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}_env,state\n{row(1).replace(PASSWORD, 'SECRET')[:-1]},failed\n")
    source = WatchedFolder(path)
    (account,) = source.poll(IntakeContext(9, lambda _: (), print, lambda: 9.0))
    source.close()
    assert account.fields["destination_password_env"] == "SECRET-1"
    assert "state" not in account.fields


def test_a_long_list_is_taken_over_many_ticks_each_row_once(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(
        f"{HEADER}\n" + "".join(row(n, "bad" if n % 5 == 0 else None) for n in range(23))
    )
    replies: list[tuple[str, Reply]] = []
    for _ in range(8):
        replies += book.tick(most=4)
    assert [origin for origin, _ in replies] == [f"accounts.csv line {line}" for line in range(2, 25)]
    assert book.added == [did_of(number) for number in range(23) if number % 5]
    assert len(only(path, "rejected/*.csv").read_text().splitlines()) == 6
    assert [item["line"] for item in json.loads(only(path, "taken/*").read_text())["rejected"]] == [2, 7, 12, 17, 22]


def test_when_the_time_is_over_no_further_list_is_begun(book: Book, path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (path / name).write_text(f"{HEADER}\n{row(1)}")
    left_s = iter([10.0, 0.1])
    assert len(book.tick(time_left_s=lambda: next(left_s))) == 1
    assert len([name for name in files(path) if name.startswith("taken/")]) == 1
    book.tick()
    assert files(path) == ["taken/a.csv.result.json", "taken/b.csv.result.json"]


def test_two_lists_of_one_name_have_a_result_each(book: Book, path: Path) -> None:
    for number in (1, 2):
        (path / "accounts.csv").write_text(f"{HEADER}\n{row(number)}")
        book.tick()
    assert len(list(path.glob("taken/*.json"))) == 2


def test_a_list_that_is_still_being_written_waits_until_nobody_has_changed_it_for_a_while(tmp_path: Path) -> None:
    found = tmp_path / "lists"
    found.mkdir(mode=0o700)
    for name, text in {"whole.csv": f"{HEADER}\n", "cut.csv": HEADER, "empty.csv": ""}.items():
        (found / name).write_text(text)
        os.utime(found / name, (1.0, 1.0))  # a copy may say that it is old
    descriptor = os.open(found, os.O_RDONLY)
    now_s = (found / "empty.csv").stat().st_ctime
    try:
        assert list(folder.waiting(descriptor, now_s + 3)) == []
        assert list(folder.waiting(descriptor, now_s + 6)) == ["whole.csv"]
        assert list(folder.waiting(descriptor, now_s + 61)) == ["cut.csv", "whole.csv"]
    finally:
        os.close(descriptor)


def test_a_list_that_grows_while_it_is_taken_is_not_ended_and_its_last_row_is_read_again(
    book: Book, path: Path
) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{rows(1, 2)[:-5]}")
    register = book._register

    def growing(offer: Account | Registered) -> tuple[Reply, str]:
        file = only(path, "taking/*.csv")
        if not file.read_text().endswith(f"{row(2)}{row(3)}"):
            file.write_text(f"{HEADER}\n{rows(1, 2, 3)}")
        return register(offer)

    book._register = growing  # type: ignore[method-assign]
    book.tick()
    assert "still being written" in book.told[0]
    book.tick()
    assert book.added == [did_of(number) for number in (1, 2, 3)]
    assert book.passwords[did_of(2)] == SecretStr(f"{PASSWORD}-2")
    assert files(path) == ["taken/accounts.csv.result.json"]


def test_a_setting_names_the_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_INTAKE_FOLDER", str(path))
    (path / "accounts.csv").write_text(f"{HEADER}\n{row(1)}")
    source = WatchedFolder()
    (offer,) = source.poll(IntakeContext(9, lambda _: (), print, lambda: 9.0))
    source.close()
    assert offer.fields["did"] == did_of(1)
    assert repr(offer).find(PASSWORD) == -1
    assert not issubclass(FolderError, SettingsError)
