"""Signatures of commits: what is signed to the byte, by whom, and that nobody who asks for none waits for OpenSSL."""

import subprocess
import sys
from dataclasses import replace

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.commit import (
    VOID_SIGNATURE,
    Commit,
    encode_commit,
    parse_commit,
    sign,
    unsigned_bytes,
    verify_signature,
)
from eurosky_pipeline.atproto.keys import Curve, SignatureError, signing_key_of
from eurosky_pipeline_tests.builders import DID, OTHER_DID, REV, make_posts, make_repo_car

TREE, PREV = cid_of(b"tree"), cid_of(b"prev")
KEYS = {curve: signing_key_of(curve, bytes(range(1, 33))) for curve in Curve}
ORDER_K256 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
V2 = {"did": DID, "version": 2, "data": TREE}
V3 = {"did": DID, "version": 3, "data": TREE, "rev": REV}
MAPS = {
    "version 3": V3 | {"prev": None},
    "version 3 with history": V3 | {"prev": PREV},
    "version 2": V2 | {"prev": PREV},
    "version 2, the first": V2 | {"prev": None},
    "version 2 without prev": V2,
    "version 2 with rev": V2 | {"prev": PREV, "rev": REV},
    "version 2 with rev without prev": V2 | {"rev": REV},
}

each_map = pytest.mark.parametrize("fields", MAPS.values(), ids=MAPS.keys())
both_curves = pytest.mark.parametrize("curve", list(Curve))


@each_map
def test_what_is_signed_is_the_block_without_its_sig_to_the_byte(fields):
    commit = parse_commit(dag_cbor.encode(fields | {"sig": b"any"}))
    assert unsigned_bytes(commit) == dag_cbor.encode(fields)


def test_no_two_of_these_commits_have_the_same_bytes_to_sign():
    blocks = [dag_cbor.encode(fields | {"sig": b""}) for fields in MAPS.values()]
    assert len({unsigned_bytes(parse_commit(block)) for block in blocks}) == len(MAPS)


@both_curves
@each_map
def test_a_commit_of_another_implementation_is_verified_as_it_was_signed(curve, fields):
    key = KEYS[curve]
    commit = parse_commit(dag_cbor.encode(fields | {"sig": key.sign(dag_cbor.encode(fields))}))
    verify_signature(commit, key.public_key)
    assert sign(replace(commit, sig=VOID_SIGNATURE), key) == commit


@both_curves
def test_a_commit_that_we_sign_is_read_back_and_verified(curve):
    signed = sign(Commit(DID, 3, TREE, REV, None, VOID_SIGNATURE), KEYS[curve])
    assert len(signed.sig) == 64
    commit = parse_commit(encode_commit(signed))
    assert commit == signed
    verify_signature(commit, KEYS[curve].public_key)


@both_curves
@pytest.mark.parametrize(
    "change",
    [
        {"did": OTHER_DID},
        {"data": PREV},
        {"rev": "3jzfcijpj2z2b"},
        {"prev": PREV},
        {"version": 2},
        {"version": 2, "has_prev": False},
    ],
)
def test_a_commit_that_was_changed_after_signing_is_refused(curve, change):
    signed = sign(Commit(DID, 3, TREE, REV, None, VOID_SIGNATURE), KEYS[curve])
    with pytest.raises(SignatureError, match="not signed by did:key:z"):
        verify_signature(replace(signed, **change), KEYS[curve].public_key)


def test_a_null_prev_and_an_absent_one_make_two_signatures():
    key = KEYS[Curve.K256]
    with_null = sign(Commit(DID, 2, TREE, "", None, b""), key)
    without = sign(Commit(DID, 2, TREE, "", None, b"", has_prev=False), key)
    for signed, other in ((with_null, without), (without, with_null)):
        verify_signature(signed, key.public_key)
        with pytest.raises(SignatureError):
            verify_signature(replace(signed, sig=other.sig), key.public_key)


def test_a_commit_signed_by_another_key_names_the_account_and_the_key_and_what_to_do():
    signed = sign(Commit(DID, 3, TREE, REV, None, VOID_SIGNATURE), KEYS[Curve.K256])
    with pytest.raises(SignatureError) as caught:
        verify_signature(signed, KEYS[Curve.P256].public_key)
    assert caught.value.code == "signature"
    assert DID in caught.value.message
    assert KEYS[Curve.P256].public_key.did_key in caught.value.message
    assert "DID document" in caught.value.hint


def test_a_void_signature_is_told_from_a_wrong_one():
    with pytest.raises(SignatureError, match="signed by nobody"):
        verify_signature(Commit(DID, 3, TREE, REV, None, VOID_SIGNATURE), KEYS[Curve.K256].public_key)


@pytest.mark.parametrize("sig", [b"", bytes(63), bytes(65), b"\x30\x45" + bytes(69), b"\xff" * 64])
def test_a_sig_that_is_no_signature_is_refused(sig):
    with pytest.raises(SignatureError):
        verify_signature(Commit(DID, 3, TREE, REV, None, sig), KEYS[Curve.K256].public_key)


def test_the_higher_s_is_refused_with_a_hint_of_its_own():
    signed = sign(Commit(DID, 3, TREE, REV, None, VOID_SIGNATURE), KEYS[Curve.K256])
    high_s = ORDER_K256 - int.from_bytes(signed.sig[32:], "big")
    malleated = replace(signed, sig=signed.sig[:32] + high_s.to_bytes(32, "big"))
    with pytest.raises(SignatureError, match="higher") as caught:
        verify_signature(malleated, KEYS[Curve.K256].public_key)
    assert "next write" in caught.value.hint


def test_looking_into_a_file_does_not_load_openssl(tmp_path):
    path = tmp_path / "account.car"
    path.write_bytes(make_repo_car(make_posts(3)))
    program = (
        "import sys\n"
        "from eurosky_pipeline.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print([name for name in sys.modules if name.startswith(('cryptography', 'multiformats'))])\n"
    )
    command = [sys.executable, "-c", program, "car", "inspect", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
