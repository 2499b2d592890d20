"""CIDs: one kind, one spelling; the `multiformats` library as a second opinion."""

import hashlib

import multiformats
import pytest

from eurosky_pipeline.atproto.cid import (
    CODEC_DAG_CBOR,
    CODEC_RAW,
    Cid,
    CidError,
    cid_of,
    parse_cid,
)

TEXT = "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"
DIGEST = hashlib.sha256(b"data").digest()
GOOD = bytes([1, CODEC_RAW, 0x12, 0x20]) + DIGEST


def in_multiformats(codec: str, digest: bytes, *, hash_name: str = "sha2-256") -> multiformats.CID:
    return multiformats.CID("base32", 1, codec, (hash_name, digest))


def test_text_and_bytes_round_trip():
    cid = parse_cid(TEXT)
    assert str(cid) == TEXT
    assert Cid.from_bytes(bytes(cid)) == cid
    assert (cid.codec, len(cid.digest)) == (CODEC_DAG_CBOR, 32)
    assert repr(cid) == f"Cid('{TEXT}')"


@pytest.mark.parametrize(("codec", "name"), [(CODEC_DAG_CBOR, "dag-cbor"), (CODEC_RAW, "raw")])
def test_multiformats_writes_and_reads_the_same_cid(codec, name):
    ours, theirs = cid_of(b"data", codec), in_multiformats(name, DIGEST)
    assert bytes(ours) == bytes(theirs)
    assert str(ours) == str(theirs)
    assert multiformats.CID.decode(str(ours)) == theirs
    assert parse_cid(str(theirs)) == ours


def test_a_cid_is_equal_to_its_plain_bytes_and_hashes_like_them():
    cid = Cid.from_bytes(GOOD)
    assert cid == GOOD
    assert {GOOD: "found"}[cid] == "found"


def test_cid_of_names_dag_cbor_unless_told_otherwise():
    assert cid_of(b"data").codec == CODEC_DAG_CBOR
    assert cid_of(b"data", CODEC_RAW) == GOOD
    assert cid_of(b"data").digest == DIGEST


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD[:-1], id="one byte short"),
        pytest.param(GOOD + b"\0", id="one byte long"),
        pytest.param(bytes(in_multiformats("dag-pb", DIGEST)), id="codec dag-pb"),
        pytest.param(bytes([1, CODEC_RAW, 0x1E, 0x20]) + DIGEST, id="hash blake3"),
        pytest.param(bytes(in_multiformats("raw", b"\1" * 20, hash_name="sha1")), id="hash sha1"),
        pytest.param(bytes(in_multiformats("raw", b"\1" * 64, hash_name="sha2-512")), id="hash sha2-512"),
        pytest.param(bytes([1, CODEC_RAW, 0x12, 0x1F]) + DIGEST, id="digest length does not tell the truth"),
        pytest.param(bytes([2, CODEC_RAW, 0x12, 0x20]) + DIGEST, id="version 2"),
        pytest.param(bytes([0x12, 0x20]) + DIGEST, id="version 0"),
    ],
)
def test_bytes_of_another_kind_of_cid_are_refused(raw):
    with pytest.raises(CidError) as caught:
        Cid.from_bytes(raw, offset=77)
    assert caught.value.offset == 77


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("b", id="only the prefix"),
        pytest.param(TEXT.upper(), id="upper case"),
        pytest.param("b" + TEXT[1:].upper(), id="upper case but for the prefix"),
        pytest.param("B" + TEXT[1:].upper(), id="base32upper"),
        pytest.param(TEXT[:20] + TEXT[20].upper() + TEXT[21:], id="one letter upper case"),
        pytest.param(TEXT[:-1] + "r", id="spare bits set"),
        pytest.param(TEXT[:-1], id="one letter short"),
        pytest.param(TEXT + "a", id="one letter long"),
        pytest.param(TEXT + "======", id="padded"),
        pytest.param(TEXT[:-1] + "=", id="padding inside"),
        pytest.param(TEXT[:-1] + "1", id="not in the alphabet"),
        pytest.param(TEXT[:-1] + "\n", id="newline"),
        pytest.param(" " + TEXT, id="space before"),
        pytest.param(TEXT[:10] + "ſ" + TEXT[11:], id="long s, an S in upper case"),
        pytest.param(TEXT[:10] + "ß" + TEXT[11:], id="sharp s, two letters in upper case"),
        pytest.param("é" * 59, id="not ASCII"),
        pytest.param("b" + "a" * 58, id="right length, wrong bytes"),
        pytest.param("z" + TEXT[1:], id="base58 prefix"),
        pytest.param(str(in_multiformats("raw", DIGEST).encode("base58btc")), id="base58"),
        pytest.param(str(in_multiformats("dag-pb", DIGEST)), id="codec dag-pb"),
        pytest.param("QmWATWQ7fVPP2EFGu71UkfnqhYXDYH566qy47CnJDgvs8u", id="version 0"),
    ],
)
def test_any_other_spelling_or_kind_of_cid_text_is_refused(text):
    with pytest.raises(CidError):
        parse_cid(text)


def test_an_error_does_not_repeat_a_text_of_any_length():
    with pytest.raises(CidError) as caught:
        parse_cid("b" * 1_000_000)
    assert len(str(caught.value)) < 200
