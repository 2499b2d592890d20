"""The target of a conversion: written whole or not touched, whatever comes between."""

from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.convert import output
from eurosky_pipeline.convert.convert_car import convert_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.plugins.record_transforms import UnknownSize
from eurosky_pipeline_tests.builders import (
    make_posts,
    make_repo_car,
)
from eurosky_pipeline_tests.converting import PICTURE, POST, SIZES, convert, is_whole


def run(source: Path, target: Path, **options: Any) -> Any:
    options = {"unknown_size": UnknownSize.KEEP, "blob_sizes": lambda _: SIZES, "report": lambda _: None} | options
    return convert_car(source, target, [LegacyBlobs()], **options)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "source.car"
    path.parent.mkdir()
    path.write_bytes(make_repo_car(make_posts(30) | {f"{POST}/a": PICTURE}))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "target.car"
    path.parent.mkdir()
    return path


def test_a_file_that_is_there_is_replaced(source, target):
    target.write_bytes(b"older")
    conversion = run(source, target)
    assert target.stat().st_size == conversion.size_bytes
    assert is_whole(target.read_bytes())
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_is_there_is_left_alone_on_an_error(source, target):
    target.write_bytes(b"older")

    def gone(_: Any) -> Any:
        raise TransientError("gone", code="host_unreachable")

    with pytest.raises(TransientError):
        run(source, target, blob_sizes=gone)
    assert (target.read_bytes(), list(target.parent.iterdir())) == (b"older", [target])


def test_a_file_that_is_there_is_left_alone_where_nothing_changes(source, target):
    target.write_bytes(b"older")
    run(source, target, blob_sizes=lambda _: {})
    assert (target.read_bytes(), list(target.parent.iterdir())) == (b"older", [target])


def test_an_interruption_at_any_report_leaves_nothing_behind(source, target):
    """Ctrl-C comes as KeyboardInterrupt, Dagster's termination as another BaseException."""
    said: list[str] = []
    run(source, target, report=said.append)
    target.unlink()
    for line in said:

        def interrupt(text: str, line: str = line) -> None:
            if text == line:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(source, target, report=interrupt)
        assert [path.name for path in target.parent.iterdir()] in ([], ["target.car"])
        assert not target.exists() or is_whole(target.read_bytes())
        target.unlink(missing_ok=True)


def test_an_interruption_while_the_file_is_being_opened_leaves_nothing_behind(source, target, monkeypatch):
    """A full disk comes there, too."""

    def interrupt(_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "encode_commit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(source, target)
    assert list(target.parent.iterdir()) == []


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize("change", [cut, overwrite, append])
def test_a_file_that_is_written_to_meanwhile_is_an_error_and_no_file(source, target, change):
    def sizes(_: Any) -> dict[Cid, int]:
        change(source)
        return SIZES

    with pytest.raises(EuroskyError):
        run(source, target, blob_sizes=sizes)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_is_replaced_meanwhile_is_read_to_its_end(source, target):
    """As `eurosky car convert FILE FILE` does in the end."""

    def sizes(_: Any) -> dict[Cid, int]:
        other = source.with_suffix(".other")
        other.write_bytes(make_repo_car({}))
        other.rename(source)
        return SIZES

    assert run(source, target, blob_sizes=sizes).records == 31
    assert is_whole(target.read_bytes())


def test_the_source_may_be_the_target(source):
    conversion = run(source, source)
    assert conversion.is_changed
    assert is_whole(source.read_bytes())
    assert list(source.parent.iterdir()) == [source]


def test_no_file_is_left_open(source, target):
    fds = Path("/proc/self/fd")
    if not fds.exists():
        pytest.skip("the open files are counted in /proc")
    before = len(list(fds.iterdir()))
    run(source, target)
    run(source, target, blob_sizes=lambda _: {})
    with pytest.raises(EuroskyError):
        run(source, target, blob_sizes=lambda _: {}, unknown_size=UnknownSize.FAIL)
    cut(source)
    with pytest.raises(EuroskyError):
        run(source, target)
    assert len(list(fds.iterdir())) == before


def test_what_is_read_is_told_in_bytes(source, target):
    counts: list[int] = []
    run(source, target, on_read=counts.append)
    assert sum(counts) >= source.stat().st_size
    assert min(counts) >= 0


def test_the_progress_is_told_in_lines_of_one_line():
    told = convert(make_repo_car(make_posts(7) | {f"{POST}/a": PICTURE, f"{POST}/b": PICTURE | {"x": 1}}), SIZES).told
    assert all(line and "\n" not in line and len(line) < 200 for line in told)
    text = "\n".join(told)
    for words in ("canning", "9 records", "found 2", "2 records", "ompleted"):
        assert words in text
