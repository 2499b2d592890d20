"""What in the folder for lists is looked at, who may write to it, and what `eurosky doctor` says of that."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from eurosky_pipeline.intake.folder import FolderError, is_list
from eurosky_pipeline.intake.watched_folder import WatchedFolder
from eurosky_pipeline.plugins.intake_sources import IntakeContext
from eurosky_pipeline.preflight.diagnosis import Health
from eurosky_pipeline.preflight.folders import look_at_intake
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.unit.list_folder import (
    HEADER,
    Book,
    row,
    take_at_once,
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return take_at_once(tmp_path, monkeypatch)


@pytest.fixture
def book(path: Path) -> Book:
    return Book(path)


@pytest.mark.parametrize(
    ("name", "is_taken"),
    [
        ("accounts.csv", True),
        ("ACCOUNTS.CSV", True),
        ("of may.tsv", True),
        ("x.jsonl", True),
        ("x.ndjson", True),
        (".accounts.csv", False),
        ("accounts.csv.partial", False),
        ("accounts.partial.csv", False),
        ("accounts.csv.tmp", False),
        ("accounts.tmp.jsonl", False),
        ("accounts.csv.result.json", False),
        ("README.txt", False),
        ("csv", False),
    ],
)
def test_what_is_looked_at_by_its_name(name: str, is_taken: bool) -> None:
    assert is_list(name) is is_taken


def _link(path: Path) -> None:
    (path.parent / "secret.csv").write_text(f"{HEADER}\n{row(9)}")
    (path / "link.csv").symlink_to(path.parent / "secret.csv")


def _second_name(path: Path) -> None:
    (path.parent / "secret.csv").write_text(f"{HEADER}\n{row(9)}")
    os.link(path.parent / "secret.csv", path / "link.csv")


def _socket(path: Path) -> None:
    where = Path.cwd()
    os.chdir(path)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket.csv")
    finally:
        os.chdir(where)


@pytest.mark.parametrize(
    "make",
    [
        _link,
        _second_name,
        lambda path: os.mkfifo(path / "pipe.csv"),
        _socket,
        lambda path: (path / "folder.csv").mkdir(),
        lambda path: (path / ("x" * 200 + ".csv")).write_text(HEADER),
        lambda path: (path / "a\nb.csv").write_text(HEADER),
    ],
    ids=["symbolic link", "second name", "pipe", "socket", "folder", "long name", "line in a name"],
)
@pytest.mark.timeout(60)
def test_what_is_no_plain_file_is_left_and_told_of_and_hinders_no_other(
    book: Book, path: Path, make: Callable[[Path], object]
) -> None:
    make(path)
    before = {item.name for item in path.iterdir()}
    (path / "zz.csv").write_text(f"{HEADER}\n{row(1)}")
    assert len(book.tick()) == 1
    assert before < {item.name for item in path.iterdir()}
    assert any("is left where it is" in line for line in book.told)
    assert not any("\n" in line for line in book.told)


def test_a_pipe_that_took_the_place_of_a_list_at_the_last_moment_is_moved_away_unread(book: Book, path: Path) -> None:
    book.tick()
    os.mkfifo(path / "taking" / "accounts.csv")
    assert book.tick() == []
    assert "cannot be read" in book.told[0]
    assert (path / "rejected" / "accounts.csv").is_fifo()


def test_a_folder_that_everybody_may_change_is_refused(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{row(1)}")
    path.chmod(0o777)
    with pytest.raises(FolderError, match="everybody may change"):
        book.tick()
    path.chmod(0o1777)
    assert len(book.tick()) == 1


@pytest.mark.parametrize("name", ["taking", "taken", "rejected"])
def test_a_folder_of_ours_that_somebody_else_has_made_is_refused(book: Book, path: Path, name: str) -> None:
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    (path / name).symlink_to(elsewhere)
    with pytest.raises(FolderError, match="no folder of this user's"):
        book.tick()
    (path / name).unlink()
    (path / name).mkdir(mode=0o755)
    with pytest.raises(FolderError, match="open to others"):
        book.tick()


def test_a_folder_that_is_not_there_is_told_and_none_that_is_named_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FolderError, match="No such file"):
        Book(tmp_path / "nowhere").tick()
    monkeypatch.delenv("EUROSKY_INTAKE_FOLDER", raising=False)
    assert list(WatchedFolder().poll(IntakeContext(9, lambda _: (), print, lambda: 9.0))) == []


def lists(path: Path | None, sources: str = "registered,watched_folder") -> list[tuple[Health, str]]:
    settings = Settings(_env_file=None, EUROSKY_INTAKE_FOLDER=path, EUROSKY_INTAKE_SOURCES=sources)
    found = look_at_intake(settings)
    assert all((row.verdict is Health.OK) == (not row.what_to_do) for row in found)
    return [(row.verdict, row.found) for row in found]


def test_doctor_says_what_waits_in_the_folder_and_where_passwords_lie(book: Book, path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv.partial"):
        (path / name).write_text(f"{HEADER}\n{row(1, 'bad')}")
    assert lists(path) == [(Health.OK, f"{path}: 2 lists wait, 0 are being taken")]
    assert [item.name for item in path.iterdir() if item.is_dir()] == []  # it makes nothing
    left_s = iter([10.0, 0.0])
    book.tick(time_left_s=lambda: next(left_s))
    warned, well = lists(path)
    assert warned[0] is Health.WARN
    assert warned[1].startswith("1 lists of rows that were not taken")
    assert well[1].endswith("1 lists wait, 0 are being taken")


def test_doctor_says_what_is_wrong_with_the_folder(path: Path) -> None:
    assert lists(None) == []
    assert lists(path, "registered")[0][0] is Health.WARN
    assert lists(path / "nowhere")[0][0] is Health.BAD
    (path / "file").write_text("")
    assert "no folder" in lists(path / "file")[0][1] or "Not a directory" in lists(path / "file")[0][1]
    for mode, verdict in {0o777: Health.BAD, 0o1777: Health.WARN, 0o770: Health.WARN, 0o755: Health.OK}.items():
        path.chmod(mode)
        assert lists(path)[0][0] is verdict
