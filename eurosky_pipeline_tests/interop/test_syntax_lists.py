"""Identifiers and string formats, by bluesky-social/atproto-interop-tests (CC0): every list of it, good and bad."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eurosky_pipeline.atproto.aturi import AtUriError, parse_at_uri
from eurosky_pipeline.atproto.cid import CidError, parse_cid
from eurosky_pipeline.atproto.formats import is_cid_text, is_datetime, is_language, is_uri
from eurosky_pipeline.atproto.syntax import (
    is_account_did,
    is_at_identifier,
    is_did,
    is_handle,
    is_nsid,
    is_record_key,
    is_tid,
)


def is_at_uri(text: str) -> bool:
    try:
        return str(parse_at_uri(text)) == text
    except AtUriError:
        return False


CHECKS: dict[str, Callable[[str], bool]] = {
    "atidentifier": is_at_identifier,
    "aturi": is_at_uri,
    "cid": is_cid_text,
    "datetime": is_datetime,
    "did": is_did,
    "handle": is_handle,
    "language": is_language,
    "nsid": is_nsid,
    "recordkey": is_record_key,
    "tid": is_tid,
    "uri": is_uri,
}
VALID = {f"{kind}_syntax_valid": kind for kind in CHECKS}
INVALID = {f"{kind}_syntax_invalid": kind for kind in CHECKS} | {
    # of the right shape, and yet no moment and no language
    "datetime_parse_invalid": "datetime",
    "language_parse_invalid": "language",
}

# The list holds CIDs of any kind; of these only the blessed kind (version 1, SHA-256, dag-cbor or raw, base32) is ours.
CIDS_OF_OTHER_KINDS = {
    "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi": "codec dag-pb",
    "bafybeie5gq4jxvzmsym6hjlwxej4rwdoxt7wadqvmmwbqi7r27fclha2va": "codec dag-pb",
    "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7": "base58",
    "zdj7WhuEjrB52m1BisYCtmjH1hSKa7yZ3jEZ9JcXaFRD51wVz": "base58",
    "z7x3CtScH765HvShXT": "base58",
    "mBcDxtdWx0aWhhc2g+": "base64",
    "7134036155352661643226414134664076": "base8",
    "f017012202c5f688262e0ece8569aa6f94d60aad55ca8d9d83734e4a7430d0cff6588ec2b": "base16",
}


def folder(fixtures: Path) -> Path:
    return fixtures / "atproto-interop-tests" / "syntax"


def lines(fixtures: Path, name: str) -> list[str]:
    text = (folder(fixtures) / f"{name}.txt").read_text(encoding="utf-8")
    found = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert len(found) >= 3, name
    return found


def is_blessed_cid(text: str) -> bool:
    try:
        return str(parse_cid(text)) == text
    except CidError:
        return False


def test_every_list_is_run(fixtures):
    assert {path.stem for path in folder(fixtures).iterdir()} == VALID.keys() | INVALID.keys()


@pytest.mark.parametrize("name", VALID)
def test_every_valid_text_is_accepted(fixtures, name):
    assert [line for line in lines(fixtures, name) if not CHECKS[VALID[name]](line)] == []


@pytest.mark.parametrize("name", INVALID)
def test_every_invalid_text_is_refused(fixtures, name):
    assert [line for line in lines(fixtures, name) if CHECKS[INVALID[name]](line)] == []


def test_every_valid_did_but_a_short_did_plc_can_be_an_accounts(fixtures):
    assert [line for line in lines(fixtures, "did_syntax_valid") if not is_account_did(line)] == []
    authorities = {parse_at_uri(line).authority for line in lines(fixtures, "aturi_syntax_valid")}
    assert {did for did in authorities if is_did(did) and not is_account_did(did)} == {"did:plc:asdf123"}


def test_every_invalid_cid_is_refused(fixtures):
    assert [line for line in lines(fixtures, "cid_syntax_invalid") if is_blessed_cid(line)] == []


def test_the_valid_cids_that_are_refused_are_of_another_kind(fixtures):
    assert {line for line in lines(fixtures, "cid_syntax_valid") if not is_blessed_cid(line)} == set(
        CIDS_OF_OTHER_KINDS
    )
