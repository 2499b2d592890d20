"""`eurosky car convert`: its JSON, its exit codes, its options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.keys import Curve, parse_signing_key
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.unit.convert_command import (
    BLOB,
    K256,
    LEGACY_CAR,
    MODERN_CAR,
    OLDER,
    OTHER_BLOB,
    P256,
    POST,
    RESULT,
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
