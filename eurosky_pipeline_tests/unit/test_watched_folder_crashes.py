"""The folder for lists with two processes at it, one that ends at any moment, and a full disk: no row is lost, and none
is offered as new twice."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.intake import folder, list_book
from eurosky_pipeline.intake.folder import FolderError
from eurosky_pipeline.intake.watched_folder import WatchedFolder
from eurosky_pipeline.plugins.intake_sources import IntakeContext
from eurosky_pipeline_tests.registering import did_of
from eurosky_pipeline_tests.unit.list_folder import (
    HEADER,
    PASSWORD,
    Book,
    Killed,
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


def test_of_two_processes_at_one_folder_the_second_leaves_it_to_the_first(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{rows(1, 2)}")
    first = WatchedFolder(path)
    offers = iter(first.poll(IntakeContext(9, lambda _: (), print, lambda: 9.0)))
    next(offers)
    assert book.tick() == []
    assert "another process" in book.told[0]
    first.close()
    assert len(book.tick()) == 2


def test_two_processes_on_a_disk_without_locks_take_each_row_and_lose_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise OSError(95, "no locks here")

    monkeypatch.setattr(folder.fcntl, "flock", none)
    for number in range(20):
        (path / f"{number}.csv").write_text(f"{HEADER}\n{row(number)}{row(number, 'bad')}")
    books = [Book(path), Book(path)]

    def work(book: Book) -> None:
        with suppress(FolderError):
            book.tick()

    threads = [threading.Thread(target=work, args=[book]) for book in books]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    books[0].tick()
    assert {did for book in books for did in book.added} == {did_of(number) for number in range(20)}
    assert list(path.glob("*.csv")) == []
    assert list(path.glob("taking/*.csv")) == []


CALLS = ("rename", "replace", "unlink", "fsync", "mkdir", "pread")


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[int]]]:
    """From now on the process is killed at the n-th of its calls to the disk, just before it, and at every later one;
    gives the count of them."""
    count = [0]
    limit: list[int | None] = [None]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if limit[0] is not None and count[0] >= limit[0]:
                raise Killed
            return real(*arguments, **named)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))

    def begin(at: int | None) -> list[int]:
        count[0], limit[0] = 0, at
        return count

    yield begin
    limit[0] = None


@pytest.mark.parametrize(("most", "ticks"), [(3, 4), (1_000_000, 2)], ids=["three rows a tick", "one tick"])
def test_a_kill_at_any_moment_loses_no_row_and_takes_none_as_new_twice(
    tmp_path: Path,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killing: Callable[[int | None], list[int]],
    most: int,
    ticks: int,
) -> None:
    monkeypatch.setattr(list_book, "_SAVED_EVERY", 2)
    text = f"{HEADER}\n{row(1)}{row(2, 'bad2')}{row(3)}x\n{row(4)}{row(5, 'bad5')}{row(6)}"
    kill_at = 0
    while True:
        kill_at += 1
        where = tmp_path / f"lists-{kill_at}"
        where.mkdir(mode=0o700)
        (where / "accounts.csv").write_text(text)
        (where / "none.csv").write_text(f"nonsense\n{PASSWORD}\n")
        book = Book(where)
        killing(kill_at)
        was_killed = False
        try:
            for _ in range(ticks):
                book.tick(most=most)
        except Killed:
            was_killed = True
        killing(None)
        told = [json.loads(file.read_text())["added"] for file in where.glob("taken/*.json")]
        for _ in range(ticks):
            book.tick(most=most)
        assert book.added == [did_of(number) for number in (1, 3, 4, 6)]
        (rejected,) = where.glob("rejected/accounts.*.csv")
        assert rejected.read_text() == f"{HEADER}\n{row(2, 'bad2')}x\n{row(5, 'bad5')}"
        assert only(where, "rejected/none.*.csv").read_text() == f"nonsense\n{PASSWORD}\n"
        result = json.loads(only(where, "taken/*.json").read_text())
        assert [item["line"] for item in result["rejected"]] == [3, 5, 7]
        assert [item["line"] for item in result["accounts"]] == [2, 4, 6, 8]
        assert result["added"] + result["unchanged"] == 4
        assert told in ([], [result["added"]])  # what was told once stays so
        left = {item.name for item in (where / "taking").iterdir()} - {".lock"}
        assert not {name for name in left if PASSWORD in (where / "taking" / name).read_text()}
        assert left == set()
        if not was_killed:
            break
    assert kill_at > 30


def test_a_disk_that_is_full_is_told_and_the_next_tick_goes_on(
    book: Book, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{rows(1, 2, 3)}")
    real = os.fsync

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((FolderError, OSError), match="No space left"):
        book.tick()
    assert book.source is not None
    book.source._open.close()
    monkeypatch.setattr(os, "fsync", real)
    book.tick()
    assert book.added == [did_of(number) for number in (1, 2, 3)]
    assert files(path) == ["taken/accounts.csv.result.json"]


def test_what_was_appended_after_the_last_progress_is_cut_off(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{row(1)}{row(2, 'bad')}{row(3)}{row(4, 'bad')}")
    book.tick(most=3)
    for suffix in (list_book.OUTCOMES, list_book.ROWS):
        with only(path, f"taking/*{suffix}").open("ab") as file:
            file.write(b"half a line of what was not kept\n" * 50)
    book.tick()
    assert only(path, "rejected/*.csv").read_text() == f"{HEADER}\n{row(2, 'bad')}{row(4, 'bad')}"
    assert len(json.loads(only(path, "taken/*.json").read_text())["rejected"]) == 2
