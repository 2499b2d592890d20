"""Identifiers, by bluesky-social/atproto-interop-tests (CC0)."""

from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import CidError, parse_cid
from eurosky_pipeline.atproto.syntax import is_did, is_handle, is_nsid, is_record_key, is_tid

CHECKS = {"did": is_did, "handle": is_handle, "nsid": is_nsid, "recordkey": is_record_key, "tid": is_tid}

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


def lines(fixtures: Path, name: str) -> list[str]:
    text = (fixtures / "atproto-interop-tests" / "syntax" / f"{name}.txt").read_text(encoding="utf-8")
    found = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert len(found) >= 3, name
    return found


def is_cid(text: str) -> bool:
    try:
        return str(parse_cid(text)) == text
    except CidError:
        return False


@pytest.mark.parametrize("kind", CHECKS)
def test_every_valid_identifier_is_accepted(fixtures, kind):
    assert [line for line in lines(fixtures, f"{kind}_syntax_valid") if not CHECKS[kind](line)] == []


@pytest.mark.parametrize("kind", CHECKS)
def test_every_invalid_identifier_is_refused(fixtures, kind):
    assert [line for line in lines(fixtures, f"{kind}_syntax_invalid") if CHECKS[kind](line)] == []


def test_every_invalid_cid_is_refused(fixtures):
    assert [line for line in lines(fixtures, "cid_syntax_invalid") if is_cid(line)] == []


def test_the_valid_cids_that_are_refused_are_of_another_kind(fixtures):
    assert {line for line in lines(fixtures, "cid_syntax_valid") if not is_cid(line)} == set(CIDS_OF_OTHER_KINDS)
