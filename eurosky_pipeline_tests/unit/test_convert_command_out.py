"""`eurosky car convert`: OUT is written whole or not touched, whatever IN is and whenever it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline_tests.builders import (
    make_legacy_blob_ref,
    make_posts,
    make_repo_car,
)
from eurosky_pipeline_tests.damage import DAMAGES
from eurosky_pipeline_tests.integration.command import EUROSKY, environment
from eurosky_pipeline_tests.unit.convert_command import (
    K256,
    LEGACY_CAR,
    OLDER,
    Command,
    lay_out,
    names,
    running_in,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay_out(tmp_path)


@pytest.fixture
def convert(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    with running_in(folder, capsys, monkeypatch) as run:
        yield run


# OUT


def test_in_may_be_out(convert, folder):
    found = convert("in.car", "in.car", "--blob-sizes", "sizes.json", "--json")
    assert (found.exit_code, found.json["refs_converted"]) == (0, 1)
    assert verify_car(folder / "in.car").root == found.json["root"]
    assert names(folder) == ["in.car", "sizes.json"]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["a symbolic link", "a second name"])
def test_in_under_another_name_may_be_out_and_stays_whole(convert, folder, link):
    link(folder / "other.car", folder / "in.car")
    assert convert("in.car", "other.car").exit_code == 0
    assert (folder / "in.car").read_bytes() == (folder / "other.car").read_bytes() == LEGACY_CAR
    assert convert("in.car", "other.car", "--blob-sizes", "sizes.json").exit_code == 0
    assert verify_car(folder / "other.car").is_whole
    assert verify_car(folder / "in.car").is_whole


def test_in_may_be_out_where_nothing_is_converted(convert, folder):
    before = (folder / "in.car").stat()
    assert convert("in.car", "in.car").exit_code == 0
    assert (folder / "in.car").read_bytes() == LEGACY_CAR
    assert (folder / "in.car").stat().st_mtime_ns == before.st_mtime_ns
    assert names(folder) == ["in.car", "sizes.json"]


@pytest.mark.parametrize("options", [(), ("--blob-sizes", "sizes.json")], ids=["passed on", "converted"])
def test_out_is_replaced_at_once(convert, folder, options):
    """Whoever has it open goes on reading what was there."""
    (folder / "out.car").write_bytes(OLDER)
    with (folder / "out.car").open("rb") as file:
        assert convert("in.car", "out.car", *options).exit_code == 0
        assert file.read() == OLDER
    assert verify_car(folder / "out.car").is_whole


@pytest.mark.parametrize("options", [(), ("--blob-sizes", "sizes.json")], ids=["passed on", "converted"])
def test_files_that_others_have_not_finished_yet_are_theirs(convert, folder, options):
    (folder / "out.car.partial").symlink_to(folder / "precious")
    (folder / "precious").write_bytes(b"precious")
    assert convert("in.car", "out.car", *options).exit_code == 0
    assert verify_car(folder / "out.car").is_whole
    assert (folder / "precious").read_bytes() == b"precious"
    assert names(folder) == ["in.car", "out.car", "out.car.partial", "precious", "sizes.json"]


@pytest.mark.parametrize("options", [(), ("--blob-sizes", "sizes.json")], ids=["passed on", "converted"])
def test_in_may_have_the_name_of_an_unfinished_out(convert, folder, options):
    (folder / "in.car").rename(folder / "out.car.partial")
    before = (folder / "out.car.partial").read_bytes()
    assert convert("out.car.partial", "out.car", *options).exit_code == 0
    assert (folder / "out.car.partial").read_bytes() == before
    assert verify_car(folder / "out.car").is_whole


@pytest.mark.parametrize("options", [(), ("--blob-sizes", "sizes.json")], ids=["passed on", "converted"])
def test_out_keeps_the_mode_of_what_was_there(convert, folder, options):
    (folder / "out.car").touch(mode=0o600)
    assert convert("in.car", "out.car", *options).exit_code == 0
    assert (folder / "out.car").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("options", [(), ("--blob-sizes", "sizes.json")], ids=["passed on", "converted"])
def test_out_in_a_folder_that_is_not_there_is_an_error_of_one_line(convert, folder, options):
    found = convert("in.car", "nowhere/out.car", *options, "--json")
    assert (found.exit_code, found.stderr) == (2, "")
    assert "nowhere" in found.json["error"]["message"]
    assert names(folder) == ["in.car", "sizes.json"]


@pytest.mark.parametrize("options", [(), ("--blob-sizes", "sizes.json")], ids=["passed on", "converted"])
def test_out_that_is_no_file_is_not_replaced(convert, folder, options):
    """As /dev/null would be, for an administrator."""
    os.mkfifo(folder / "pipe")
    found = convert("in.car", "pipe", *options, "--json")
    assert found.exit_code in {1, 2}
    assert (folder / "pipe").is_fifo()
    assert names(folder) == ["in.car", "pipe", "sizes.json"]


def test_in_that_is_no_file_is_an_error(convert, folder):
    os.mkfifo(folder / "pipe")
    found = convert("pipe", "out.car", "--json")
    assert (found.exit_code, found.json["error"]["code"]) == (1, "car")
    assert names(folder) == ["in.car", "pipe", "sizes.json"]


# damage


CODES = {"car", "varint", "block_hash", "block_missing", "commit", "dag_cbor", "mst", "repo"}
REFUSED = [name for name in DAMAGES if name.startswith(("file: ", "commit: "))]


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_an_error_and_out_is_not_touched_or_out_is_in(convert, folder, name):
    """Nothing is to be converted in these: how the tree and the records are made is then `car verify`'s to say."""
    (folder / "in.car").write_bytes(DAMAGES[name])
    (folder / "out.car").write_bytes(OLDER)
    found = convert("in.car", "out.car", "--json")
    assert found.stderr == ""
    if found.exit_code == 0:
        assert name not in REFUSED or verify_car(folder / "in.car").is_whole
        assert (folder / "out.car").read_bytes() == DAMAGES[name]
    else:
        assert (found.exit_code, found.json["error"]["code"] in CODES) == (1, True)
        assert (folder / "out.car").read_bytes() == OLDER
    assert names(folder) == ["in.car", "out.car", "sizes.json"]


def test_every_truncation_is_an_error_and_out_is_not_touched(convert, folder):
    (folder / "out.car").write_bytes(OLDER)
    for length in range(0, len(LEGACY_CAR) - 400, 97):  # its last blocks are an orphan and duplicates
        (folder / "in.car").write_bytes(LEGACY_CAR[:length])
        assert convert("in.car", "out.car", "--unknown-size", "sentinel", "--json").json["error"]["code"] in CODES
        assert (folder / "out.car").read_bytes() == OLDER
    assert names(folder) == ["in.car", "out.car", "sizes.json"]


def test_an_error_for_people_is_a_line_or_two_and_no_traceback(convert, folder):
    (folder / "in.car").write_bytes(LEGACY_CAR[:-1])
    found = convert("in.car", "out.car")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("error: ")
    assert len(found.stderr.splitlines()) <= 2
    assert names(folder) == ["in.car", "sizes.json"]


# a process of its own


@pytest.fixture(scope="module")
def large_car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So large that its conversion takes a while."""
    path = tmp_path_factory.mktemp("large") / "in.car"
    path.write_bytes(
        make_repo_car({key: post | {"x": make_legacy_blob_ref()} for key, post in make_posts(30_000).items()})
    )
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_stop_leaves_nothing_behind(large_car: Path, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "out.car").write_bytes(OLDER)
    process = subprocess.Popen(
        [EUROSKY, "car", "convert", large_car, "out.car", "--unknown-size", "sentinel"],
        cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*.partial")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(0.02)  # in the middle of its work; an interruption at the opening is tested by itself
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert "stopped" in err
    assert "Traceback" not in err
    assert (tmp_path / "out.car").read_bytes() == OLDER
    assert names(tmp_path) == ["out.car"]


def test_nothing_heavy_is_loaded(folder: Path) -> None:
    heavy = {"alembic", "cryptography", "dagster", "httpx", "multiformats", "pandas", "pydantic", "sqlalchemy"}
    code = (
        "import json, sys\nfrom eurosky_pipeline.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done: dict[str, Any] = {}
    for options in ((), ("--signing-key-env", "KEY")):
        process = subprocess.run(
            [sys.executable, "-c", code, "car", "convert", "in.car", "out.car", "--json", *options],
            cwd=folder, env=environment(folder, KEY=K256), capture_output=True, text=True, check=True,
        )  # fmt: skip
        done[" ".join(options)] = set(json.loads(process.stderr.splitlines()[-1]))
    assert done[""] & heavy == set()
    assert done["--signing-key-env KEY"] & heavy == {"cryptography"}
