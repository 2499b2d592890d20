"""The commit: two versions, and no field missing or of another kind."""

from dataclasses import replace

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, CommitError, encode_commit, parse_commit
from eurosky_pipeline.atproto.dag_cbor import CborError
from eurosky_pipeline_tests.builders import DID, REV

TREE, PREV = cid_of(b"tree"), cid_of(b"prev")
SIG = bytes(range(64))
V3 = {"did": DID, "version": 3, "data": TREE, "rev": REV, "prev": None, "sig": SIG}
V2 = {"did": DID, "version": 2, "data": TREE, "prev": PREV, "sig": SIG}

MISSING = object()


def test_a_commit_of_version_3_is_read():
    assert parse_commit(dag_cbor.encode(V3)) == Commit(DID, 3, TREE, REV, None, SIG)
    assert parse_commit(dag_cbor.encode(V3 | {"prev": PREV})).prev == PREV


def test_a_commit_of_version_2_has_no_rev_and_may_lack_prev():
    assert parse_commit(dag_cbor.encode(V2)) == Commit(DID, 2, TREE, "", PREV, SIG)
    without = {key: value for key, value in V2.items() if key != "prev"}
    assert parse_commit(dag_cbor.encode(without)) == Commit(DID, 2, TREE, "", None, SIG, has_prev=False)
    assert parse_commit(dag_cbor.encode(V2 | {"prev": None})) == Commit(DID, 2, TREE, "", None, SIG)


def test_a_commit_of_version_2_keeps_a_rev_that_it_has():
    assert parse_commit(dag_cbor.encode(V2 | {"rev": REV})).rev == REV


@pytest.mark.parametrize("did", ["did:web:example.com", "did:web:localhost%3A2583"])
def test_a_commit_may_be_of_any_did_method(did):
    assert parse_commit(dag_cbor.encode(V3 | {"did": did})).did == did


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("did", MISSING, "did"),
        ("did", 1, "did"),
        ("did", "", "did"),
        ("did", "did:plc:tooshort", "did"),
        ("did", DID + "\n", "did"),
        ("version", MISSING, "version"),
        ("version", 1, "version"),
        ("version", 4, "version"),
        ("version", True, "version"),
        ("version", "3", "version"),
        ("data", MISSING, "tree"),
        ("data", None, "tree"),
        ("data", bytes(TREE), "tree"),
        ("data", str(TREE), "tree"),
        ("data", cid_of(b"", CODEC_RAW), "tree"),
        ("rev", MISSING, "rev"),
        ("rev", None, "rev"),
        ("rev", "", "rev"),
        ("rev", "3jzfcijpj2z2", "rev"),
        ("rev", 3, "rev"),
        ("prev", MISSING, "prev"),
        ("prev", "", "prev"),
        ("prev", bytes(PREV), "prev"),
        ("prev", cid_of(b"", CODEC_RAW), "prev"),
        ("sig", MISSING, "signature"),
        ("sig", None, "signature"),
        ("sig", "text", "signature"),
        ("sig", TREE, "signature"),
    ],
)
def test_a_version_3_commit_with_a_bad_field_is_refused_and_the_field_named(field, value, message):
    fields = V3 | {field: value}
    if value is MISSING:
        del fields[field]
    with pytest.raises(CommitError, match=message):
        parse_commit(dag_cbor.encode(fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rev", None),
        ("rev", ""),
        ("rev", "not a tid"),
        ("data", None),
        ("prev", 1),
        ("prev", cid_of(b"", CODEC_RAW)),
        ("sig", None),
    ],
)
def test_a_version_2_commit_with_a_bad_field_is_refused(field, value):
    with pytest.raises(CommitError):
        parse_commit(dag_cbor.encode(V2 | {field: value}))


@pytest.mark.parametrize("fields", [V2, V3], ids=["version 2", "version 3"])
@pytest.mark.parametrize("field", ["", "Did", "blobs", "root", "\N{ZERO WIDTH SPACE}sig", "x" * 100_000])
def test_a_commit_with_a_field_that_no_version_knows_is_refused(fields, field):
    with pytest.raises(CommitError, match="no version knows") as caught:
        parse_commit(dag_cbor.encode(fields | {field: None}))
    assert len(caught.value.message) < 200
    assert "\N{ZERO WIDTH SPACE}" not in caught.value.message


@pytest.mark.parametrize("sig", [b"", bytes(63), bytes(65), b"\x30" * 71])
def test_how_long_a_signature_is_does_not_belong_to_the_structure(sig):
    assert parse_commit(dag_cbor.encode(V3 | {"sig": sig})).sig == sig


@pytest.mark.parametrize("value", [None, [], "commit", 3, TREE])
def test_a_block_that_is_no_map_is_no_commit(value):
    with pytest.raises(CommitError, match="not a map"):
        parse_commit(dag_cbor.encode(value))


def test_a_commit_that_is_not_canonical_is_refused():
    with pytest.raises(CborError):
        parse_commit(dag_cbor.encode(V3) + b"\0")


def test_what_is_written_is_read_the_same():
    commit = Commit(DID, 3, TREE, REV, PREV, SIG)
    assert parse_commit(encode_commit(commit)) == commit
    assert encode_commit(parse_commit(dag_cbor.encode(V3))) == dag_cbor.encode(V3)


def test_a_commit_taken_over_from_version_2_is_written_with_the_fields_that_version_3_demands():
    old = parse_commit(dag_cbor.encode({key: value for key, value in V2.items() if key != "prev"}))
    assert encode_commit(replace(old, version=3, rev=REV)) == dag_cbor.encode(V3)


def test_a_commit_of_version_2_is_not_written():
    with pytest.raises(ValueError, match="version 3"):
        encode_commit(Commit(DID, 2, TREE, "", None, SIG))


def test_only_64_zero_bytes_are_a_void_signature():
    assert Commit(DID, 3, TREE, REV, None, VOID_SIGNATURE).is_signature_void
    assert not Commit(DID, 3, TREE, REV, None, SIG).is_signature_void
    assert not Commit(DID, 3, TREE, REV, None, b"").is_signature_void
    assert len(VOID_SIGNATURE) == 64
