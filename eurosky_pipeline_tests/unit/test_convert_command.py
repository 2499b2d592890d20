"""`eurosky car convert`: its JSON, its exit codes, its options, and that OUT is written whole or not touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.atproto.keys import Curve, parse_signing_key
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.cli.main import main
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import (
    make_block,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo_car,
    make_strong_ref,
)
from eurosky_pipeline_tests.damage import DAMAGES
from eurosky_pipeline_tests.integration.command import EUROSKY, Finished, environment

POST = "app.bsky.feed.post"
BLOB, OTHER_BLOB = cid_of(b"a picture", CODEC_RAW), cid_of(b"another picture", CODEC_RAW)
PICTURE = make_post("picture", images=[make_legacy_blob_ref(), make_legacy_blob_ref(b"another picture")])
RECORDS = {
    **make_posts(20),
    f"{POST}/a": PICTURE,
    "app.bsky.feed.like/a": {"subject": make_strong_ref(f"{POST}/a", make_block(PICTURE)[0])},
}
LEGACY_CAR = make_repo_car(RECORDS, orphans=[{"old": 1}], duplicates=2)
MODERN_CAR = make_repo_car(make_posts(20), orphans=[{"old": 1}], duplicates=2)
SIZES = {str(BLOB): 760_898}
RESULT = {"records", "records_changed", "refs_converted", "refs_kept", "strong_refs_rewritten", "root", "signature"}
OLDER = b"what was in OUT before"

Command = Callable[..., Finished]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.car").write_bytes(LEGACY_CAR)
    (tmp_path / "sizes.json").write_text(json.dumps(SIZES))
    return tmp_path


@pytest.fixture
def convert(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Run the command in this process, in a folder with `in.car` and `sizes.json`."""
    monkeypatch.chdir(folder)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: str) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["car", "convert", *arguments])
        said = capsys.readouterr()
        return Finished(int(caught.value.code or 0), said.out, said.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# what it says


def test_the_result_in_json(convert, folder):
    found = convert("in.car", "out.car", "--blob-sizes", "sizes.json", "--json")
    assert (found.exit_code, found.stderr, len(found.stdout.splitlines())) == (0, "", 1)
    expected = plain_convert.convert(LEGACY_CAR, {BLOB: 760_898}, "keep")
    data = (folder / "out.car").read_bytes()
    assert found.json.keys() >= RESULT
    assert {key: found.json[key] for key in RESULT} == {
        "records": 22,
        "records_changed": 2,
        "refs_converted": 1,
        "refs_kept": 1,
        "strong_refs_rewritten": 1,
        "root": verify_car(folder / "out.car").root,
        "signature": "void",
    }
    assert plain_convert.read(data).cids == expected.cids
    assert verify_car(folder / "out.car").is_whole
    assert names(folder) == ["in.car", "out.car", "sizes.json"]


def test_the_result_for_people(convert):
    found = convert("in.car", "out.car", "--blob-sizes", "sizes.json")
    assert found.exit_code == 0
    assert "refs_converted" in found.stdout
    assert "signed by nobody" in found.stderr
    assert "Traceback" not in found.stderr


def test_without_anything_to_convert_out_is_in_byte_for_byte(convert, folder):
    (folder / "in.car").write_bytes(MODERN_CAR)
    found = convert("in.car", "out.car", "--json")
    assert found.exit_code == 0
    assert (folder / "out.car").read_bytes() == MODERN_CAR
    assert (found.json["records"], found.json["records_changed"], found.json["signature"]) == (20, 0, "kept")
    assert found.json["root"] == verify_car(folder / "in.car").root
    assert "byte for byte" in convert("in.car", "out.car").stderr


def test_with_every_reference_kept_out_is_in_byte_for_byte(convert, folder):
    found = convert("in.car", "out.car", "--json")
    assert (found.exit_code, found.json["refs_kept"], found.json["signature"]) == (0, 2, "kept")
    assert (folder / "out.car").read_bytes() == LEGACY_CAR


def test_what_was_converted_once_is_passed_on_the_second_time(convert, folder):
    first = convert("in.car", "out.car", "--unknown-size", "sentinel", "--json")
    second = convert("out.car", "again.car", "--unknown-size", "sentinel", "--json")
    assert (folder / "again.car").read_bytes() == (folder / "out.car").read_bytes()
    assert (first.json["refs_converted"], second.json["refs_converted"]) == (2, 0)
    assert first.json["root"] == second.json["root"]


def test_the_orphans_and_duplicates_of_a_converted_file_are_gone(convert, folder):
    convert("in.car", "out.car", "--blob-sizes", "sizes.json")
    found = verify_car(folder / "out.car")
    assert (found.orphan_blocks, found.duplicate_blocks) == (0, 0)


# its options


def test_the_policies_for_unknown_sizes(convert, folder):
    answers = {
        policy: convert("in.car", "out.car", "--unknown-size", policy, "--json") for policy in ("keep", "sentinel")
    }
    assert [answers[policy].json["refs_converted"] for policy in answers] == [0, 2]
    images = plain_convert.read((folder / "out.car").read_bytes()).records[f"{POST}/a"]["images"]
    assert [image["size"] for image in images] == [-1, -1]


def test_fail_is_an_error_with_its_code_and_out_is_not_touched(convert, folder):
    (folder / "out.car").write_bytes(OLDER)
    found = convert("in.car", "out.car", "--blob-sizes", "sizes.json", "--unknown-size", "fail", "--json")
    assert (found.exit_code, found.stderr, found.json["error"]["code"]) == (1, "", "blob_size_unknown")
    assert str(OTHER_BLOB) in found.json["error"]["message"]
    assert str(BLOB) not in found.json["error"]["message"]
    assert found.json["error"]["hint"]
    assert (folder / "out.car").read_bytes() == OLDER
    assert names(folder) == ["in.car", "out.car", "sizes.json"]
    assert "blob_size_unknown" not in convert("in.car", "out.car", "--unknown-size", "fail").stdout


def test_fail_succeeds_where_every_size_is_given(convert, folder):
    (folder / "sizes.json").write_text(json.dumps({str(BLOB): 1, str(OTHER_BLOB): 2, str(cid_of(b"nobody's")): 3}))
    found = convert("in.car", "out.car", "--blob-sizes", "sizes.json", "--unknown-size", "fail", "--json")
    assert (found.exit_code, found.json["refs_converted"]) == (0, 2)


K256, P256 = "f8126" + "00" * 31 + "07", "f8626" + "00" * 31 + "07"


@pytest.mark.parametrize("secret", [K256, P256, f" {K256}\n"], ids=["k256", "p256", "with blanks around it"])
def test_a_signing_key_signs(convert, folder, monkeypatch, secret):
    monkeypatch.setenv("SIGNING_KEY", secret)
    found = convert("in.car", "out.car", "--unknown-size", "sentinel", "--signing-key-env", "SIGNING_KEY", "--json")
    assert (found.exit_code, found.json["signature"]) == (0, "signed")
    public_key = parse_signing_key(secret.strip()).public_key
    assert public_key.curve == (Curve.P256 if secret == P256 else Curve.K256)
    assert verify_car(folder / "out.car", key=public_key).is_whole
    assert secret.strip() not in found.stdout + found.stderr


def test_a_signing_key_signs_nothing_where_nothing_is_converted(convert, folder, monkeypatch):
    monkeypatch.setenv("SIGNING_KEY", K256)
    (folder / "in.car").write_bytes(MODERN_CAR)
    found = convert("in.car", "out.car", "--signing-key-env", "SIGNING_KEY", "--json")
    assert found.json["signature"] == "kept"
    assert (folder / "out.car").read_bytes() == MODERN_CAR


BAD_KEYS = {
    "empty": "",
    "blank": "  ",
    "plain hex": "07" * 32,
    "cut short": K256[:-2],
    "a public key": "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
    "a did:key": "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
    "zero": "f8126" + "00" * 32,
    "of another curve": "f8026" + "07" * 32,
    "base58 with a wrong digit": "z0OIl",
    "nonsense": "my secret is 12345",
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_is_none_is_a_bad_argument_and_is_not_shown(convert, folder, monkeypatch, name):
    monkeypatch.setenv("SIGNING_KEY", BAD_KEYS[name])
    (folder / "out.car").write_bytes(OLDER)
    for more in ([], ["--json"]):
        found = convert("in.car", "out.car", "--unknown-size", "sentinel", "--signing-key-env", "SIGNING_KEY", *more)
        assert found.exit_code == 2
        said = found.stdout + found.stderr
        assert "SIGNING_KEY" in said or "--signing-key-env" in said
        assert "Traceback" not in said
        assert not BAD_KEYS[name].strip() or BAD_KEYS[name].strip() not in said
    assert set(found.json["error"]) == {"code", "message", "hint"}
    assert (folder / "out.car").read_bytes() == OLDER


def test_a_variable_that_is_not_set_is_a_bad_argument(convert, folder, monkeypatch):
    monkeypatch.delenv("SIGNING_KEY", raising=False)
    found = convert("in.car", "out.car", "--signing-key-env", "SIGNING_KEY")
    assert found.exit_code == 2
    assert "--signing-key-env" in found.stderr
    assert "SIGNING_KEY" not in found.stderr  # somebody may have given the key itself
    assert names(folder) == ["in.car", "sizes.json"]


BAD_SIZES: dict[str, str] = {
    "nothing": "",
    "no JSON": "sizes",
    "cut": '{"' + str(BLOB) + '": 5',
    "no UTF-8": '{"\udcff": 5}',
    "a list": "[]",
    "null": "null",
    "a number": "5",
    "a key that is no CID": '{"picture": 5}',
    "an empty key": '{"": 5}',
    "a CID in upper case": json.dumps({str(BLOB).upper(): 5}),
    "a CID of version 0": '{"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG": 5}',
    "a size of nothing": json.dumps({str(BLOB): 0}),
    "a size below nothing": json.dumps({str(BLOB): -1}),
    "a size that is true": json.dumps({str(BLOB): True}),
    "a size that is text": json.dumps({str(BLOB): "760898"}),
    "a size that is null": json.dumps({str(BLOB): None}),
    "a size that is a float": json.dumps({str(BLOB): 5.0}),
    "a size that is a list": json.dumps({str(BLOB): [5]}),
    "a size that is not a number": json.dumps({str(BLOB): float("nan")}),
    "a size beyond what JSON numbers can say": json.dumps({str(BLOB): 2**53}),
    "a size of 5,000 digits": '{"' + str(BLOB) + '": ' + "9" * 5_000 + "}",
    "100,000 lists in each other": "[" * 100_000,
    "a size of 100,000 lists": '{"' + str(BLOB) + '": ' + "[" * 100_000 + "}",
}


@pytest.mark.parametrize("name", BAD_SIZES)
def test_a_file_of_sizes_that_is_none_is_a_bad_argument_and_out_is_not_touched(convert, folder, name):
    (folder / "sizes.json").write_text(BAD_SIZES[name], "utf-8", "surrogateescape")
    (folder / "out.car").write_bytes(OLDER)
    for more in ([], ["--json"]):
        found = convert("in.car", "out.car", "--blob-sizes", "sizes.json", *more)
        said = found.stdout + found.stderr
        assert found.exit_code == 2
        assert "--blob-sizes" in said or "sizes.json" in said
        assert "Traceback" not in said
        assert len(said) < 2_000
    assert (folder / "out.car").read_bytes() == OLDER
    assert names(folder) == ["in.car", "out.car", "sizes.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("in.car",),
        ("nowhere.car", "out.car"),
        (".", "out.car"),
        ("in.car", "."),
        ("in.car", "out.car", "more"),
        ("in.car", "out.car", "--blob-sizes", "nowhere.json"),
        ("in.car", "out.car", "--unknown-size", "guess"),
        ("in.car", "out.car", "--unknown-size", "KEEP"),
        ("in.car", "out.car", "--unknown"),
    ],
)
def test_bad_arguments_exit_with_2(convert, folder, arguments):
    found = convert(*arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert "Traceback" not in found.stderr
    found = convert(*arguments, "--json")
    assert (found.exit_code, set(found.json["error"])) == (2, {"code", "message", "hint"})
    assert names(folder) == ["in.car", "sizes.json"]


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
