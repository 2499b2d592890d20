"""The folder for lists: what is taken and when, what is left of it, who may write to it; and that a process which ends
at any moment neither loses a row nor offers one as new twice."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake import claimed_list, folder, list_book
from eurosky_pipeline.intake.folder import FolderError, called, is_list, moment_of
from eurosky_pipeline.intake.watched_folder import WatchedFolder
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, Registered, Reply
from eurosky_pipeline.preflight.diagnosis import Health
from eurosky_pipeline.preflight.folders import look_at_intake
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.unit.test_registry_intake import did_of

HEADER = "did,source_pds,destination_pds,destination_password"
HOSTS = "https://old.example,https://new.example"
PASSWORD = "canary-90ab"


class Book:
    """A registry that knows DIDs, and rejects those that begin with `bad`; and the tick around a source."""

    def __init__(self, path: Path, batch: int = 3) -> None:
        self.path, self.batch = path, batch
        self.added: list[str] = []
        self.passwords: dict[str, Any] = {}
        self.told: list[str] = []
        self.source: WatchedFolder | None = None

    def tick(self, most: int = 1_000_000, time_left_s: Callable[[], float] = lambda: 10.0) -> list[tuple[str, Reply]]:
        """Poll the folder once, at most so many offers."""
        self.told = []
        context = IntakeContext(most, lambda _: (), self.told.append, time_left_s)
        source = self.source = WatchedFolder(self.path)
        replies: list[tuple[str, Reply]] = []
        offers = iter(source.poll(context))
        try:
            while most > 0:
                drawn = [offer for _, offer in zip(range(min(self.batch, most)), offers, strict=False)]
                if not drawn:
                    break
                most -= len(drawn)
                answers = [self._register(offer) for offer in drawn]
                for offer, (reply, reason) in zip(drawn, answers, strict=True):
                    replies.append((offer.origin, reply))
                    source.answered(offer, reply, None if reply is Reply.REJECTED else "EURO-1", reason)
        except Killed:  # what the kernel does: the lock is let go
            source._open.close()
            raise
        source.close()
        return replies

    def _register(self, offer: Account | Registered) -> tuple[Reply, str]:
        assert isinstance(offer, Account)
        did = str(offer.fields.get("did", ""))
        if did.startswith("bad"):
            return Reply.REJECTED, "it is bad"
        self.passwords[did] = offer.fields.get("destination_password")
        if did in self.added:
            return Reply.UNCHANGED, ""
        self.added.append(did)
        return Reply.ADDED, ""


class Killed(BaseException):
    """The process is gone: nothing of ours is run after it."""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder; what is put into it counts as whole at once."""
    monkeypatch.setattr(folder, "QUIET_S", -1.0)
    monkeypatch.setattr(folder, "CUT_QUIET_S", -1.0)
    found = tmp_path / "lists"
    found.mkdir(mode=0o700)
    return found


@pytest.fixture
def book(path: Path) -> Book:
    return Book(path)


def row(number: int, did: str | None = None) -> str:
    return f"{did or did_of(number)},{HOSTS},{PASSWORD}-{number}\n"


def rows(*numbers: int) -> str:
    return "".join(row(number) for number in numbers)


def files(path: Path) -> list[str]:
    """All below, but for the lock; with their stamps taken out."""
    found = (item for item in path.rglob("*") if item.is_file() and item.name != ".lock")
    return sorted(str(item.relative_to(path).parent / called_of(item.name)) for item in found)


def called_of(name: str) -> str:
    base, dot, rest = name.partition(".result")
    return called(base) + dot + rest


def only(path: Path, pattern: str) -> Path:
    (found,) = path.glob(pattern)
    return found


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


def test_a_setting_names_the_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_INTAKE_FOLDER", str(path))
    (path / "accounts.csv").write_text(f"{HEADER}\n{row(1)}")
    source = WatchedFolder()
    (offer,) = source.poll(IntakeContext(9, lambda _: (), print, lambda: 9.0))
    source.close()
    assert offer.fields["did"] == did_of(1)
    assert repr(offer).find(PASSWORD) == -1
    assert not issubclass(FolderError, SettingsError)


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


def test_what_was_appended_after_the_last_progress_is_cut_off(book: Book, path: Path) -> None:
    (path / "accounts.csv").write_text(f"{HEADER}\n{row(1)}{row(2, 'bad')}{row(3)}{row(4, 'bad')}")
    book.tick(most=3)
    for suffix in (list_book.OUTCOMES, list_book.ROWS):
        with only(path, f"taking/*{suffix}").open("ab") as file:
            file.write(b"half a line of what was not kept\n" * 50)
    book.tick()
    assert only(path, "rejected/*.csv").read_text() == f"{HEADER}\n{row(2, 'bad')}{row(4, 'bad')}"
    assert len(json.loads(only(path, "taken/*.json").read_text())["rejected"]) == 2
