"""Keys and signatures: what is signed is verified, always the same way, and nothing beside it is."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eurosky_pipeline.atproto import base58, dag_cbor
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.commit import (
    CommitError,
    encode_commit,
    parse_commit,
    sign,
    unsigned_bytes,
    verify_signature,
)
from eurosky_pipeline.atproto.dag_cbor import CborError
from eurosky_pipeline.atproto.keys import (
    Curve,
    PublicKeyError,
    SignatureError,
    SigningKeyError,
    parse_did_key,
    parse_signing_key,
    signing_key_of,
)
from eurosky_pipeline.atproto.syntax import tid_of

ORDERS = {
    Curve.K256: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    Curve.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
}
PUBLIC_CODECS = (b"\xe7\x01", b"\x80\x24")
PRIVATE_CODECS = {Curve.K256: b"\x81\x26", Curve.P256: b"\x86\x26"}


@st.composite
def signing_keys(draw):
    curve = draw(st.sampled_from(list(Curve)))
    return signing_key_of(curve, draw(st.integers(1, ORDERS[curve] - 1)).to_bytes(32, "big"))


keys = signing_keys()
messages = st.binary(max_size=300)
cids = st.builds(cid_of, st.binary(max_size=8))
commits = st.fixed_dictionaries(
    {
        "did": st.sampled_from(["did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:web:example.com"]),
        "version": st.sampled_from([2, 3]),
        "data": cids,
        "sig": st.binary(max_size=80),
    },
    optional={"rev": st.builds(tid_of, st.integers(0, 2**53 - 1)), "prev": st.none() | cids},
)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.binary(max_size=90))
def test_bytes_in_base58_are_read_back(data):
    assert base58.decode(base58.encode(data)) == data


@given(st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", max_size=90))
def test_every_spelling_in_base58_is_the_only_one_of_its_bytes(text):
    assert base58.encode(base58.decode(text)) == text


@given(keys, messages)
def test_what_a_key_signs_its_public_half_verifies(key, message):
    signature = key.sign(message)
    assert len(signature) == 64
    parse_did_key(key.public_key.did_key).verify(message, signature)


@given(keys, messages)
def test_the_same_key_signs_the_same_message_the_same_way_and_with_the_lower_s(key, message):
    signature = key.sign(message)
    assert key.sign(message) == signature
    assert 0 < int.from_bytes(signature[32:], "big") <= ORDERS[key.public_key.curve] // 2


@settings(max_examples=8)
@given(keys, st.binary(min_size=1, max_size=12))
def test_no_bit_of_the_message_or_of_the_signature_may_be_another(key, message):
    signature = key.sign(message)
    for bit in range(8 * len(message)):
        with pytest.raises(SignatureError):
            key.public_key.verify(flipped(message, bit), signature)
    for bit in range(8 * len(signature)):
        with pytest.raises(SignatureError):
            key.public_key.verify(message, flipped(signature, bit))


@given(keys, messages)
def test_the_other_s_of_a_signature_is_always_refused(key, message):
    signature = key.sign(message)
    other_s = ORDERS[key.public_key.curve] - int.from_bytes(signature[32:], "big")
    with pytest.raises(SignatureError, match="higher"):
        key.public_key.verify(message, signature[:32] + other_s.to_bytes(32, "big"))


@given(keys, keys, messages)
def test_no_other_key_verifies(key, other, message):
    if key.public_key == other.public_key:
        return
    with pytest.raises(SignatureError):
        other.public_key.verify(message, key.sign(message))


@given(keys, messages, st.binary(max_size=80) | st.binary(min_size=64, max_size=64))
def test_no_other_bytes_are_a_signature(key, message, signature):
    if signature == key.sign(message):
        return
    with pytest.raises(SignatureError):
        key.public_key.verify(message, signature)


@given(keys, st.data())
def test_a_did_key_with_one_character_changed_is_another_key_or_none(key, data):
    text = key.public_key.did_key
    place = data.draw(st.integers(0, len(text) - 1))
    changed = (
        text[:place] + data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[place])) + text[place + 1 :]
    )
    with suppress(PublicKeyError):
        read = parse_did_key(changed)
        assert read != key.public_key
        assert read.did_key == changed


@given(
    st.text(max_size=100)
    | st.builds(
        lambda codec, raw: "did:key:z" + base58.encode(codec + raw),
        st.sampled_from([b"", *PUBLIC_CODECS, *PRIVATE_CODECS.values()]),
        st.binary(min_size=33, max_size=33)
        | st.builds(bytes.__add__, st.sampled_from([b"\2", b"\3"]), st.binary(min_size=32, max_size=32))
        | st.binary(max_size=70),
    )
)
def test_any_text_is_the_one_spelling_of_a_key_or_refused(text):
    with suppress(PublicKeyError):
        assert parse_did_key(text).did_key == text


@given(keys, st.text(max_size=100) | st.binary(max_size=60).map(lambda raw: "z" + base58.encode(raw)))
def test_any_text_is_a_signing_key_or_refused(key, text):
    with suppress(SigningKeyError):
        parse_signing_key(text).public_key.verify(b"message", parse_signing_key(text).sign(b"message"))


@given(st.sampled_from(list(Curve)), st.binary(min_size=32, max_size=32))
def test_a_signing_key_is_the_same_from_each_of_its_spellings(curve, secret):
    if not 0 < int.from_bytes(secret, "big") < ORDERS[curve]:
        return
    data = PRIVATE_CODECS[curve] + secret
    spelled = [parse_signing_key("z" + base58.encode(data)), parse_signing_key("f" + data.hex())]
    assert {key.public_key for key in spelled} == {signing_key_of(curve, secret).public_key}


@given(commits)
def test_what_is_signed_is_the_commits_block_without_its_sig(fields):
    block = dag_cbor.encode(fields)
    try:
        commit = parse_commit(block)
    except CommitError:
        assert fields["version"] == 3
        assert not {"rev", "prev"} <= fields.keys()
        return
    without = {name: value for name, value in fields.items() if name != "sig"}
    assert unsigned_bytes(commit) == dag_cbor.encode(without)
    if commit.version == 3:
        assert encode_commit(commit) == block


@given(commits, keys)
def test_a_signed_commit_is_verified_by_its_key_alone(fields, key):
    with suppress(CommitError):
        signed = sign(parse_commit(dag_cbor.encode(fields)), key)
        verify_signature(signed, key.public_key)
        assert sign(signed, key) == signed


@settings(max_examples=4)
@given(keys)
def test_no_bit_of_a_signed_block_may_be_another(key):
    fields = {
        "did": "did:web:example.com",
        "version": 3,
        "data": cid_of(b""),
        "rev": tid_of(1),
        "prev": None,
        "sig": b"",
    }
    block = encode_commit(sign(parse_commit(dag_cbor.encode(fields)), key))
    for bit in range(8 * len(block)):
        with pytest.raises((CborError, CommitError, SignatureError)):
            verify_signature(parse_commit(flipped(block, bit)), key.public_key)
