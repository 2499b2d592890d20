"""Keys and signatures, by bluesky-social/atproto-interop-tests (CC0)."""

import base64
import json
from pathlib import Path

import pytest

from eurosky_pipeline.atproto import base58
from eurosky_pipeline.atproto.keys import (
    Curve,
    SignatureError,
    parse_did_key,
    parse_document_key,
    parse_signing_key,
    signing_key_of,
)


def cases(fixtures: Path, name: str) -> list[dict]:
    return json.loads((fixtures / "atproto-interop-tests" / "crypto" / name).read_text(encoding="utf-8"))


def unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def test_signatures_are_accepted_and_refused_as_the_vectors_say(fixtures):
    found = cases(fixtures, "signature-fixtures.json")
    assert len(found) == 6
    for case in found:
        key = parse_did_key(case["publicKeyDid"])
        message, signature = unpadded(case["messageBase64"]), unpadded(case["signatureBase64"])
        if case["validSignature"]:
            key.verify(message, signature)
            continue
        reason = {"high-s": "higher", "der-encoded": "DER"}[case["tags"][0]]
        with pytest.raises(SignatureError, match=reason):
            key.verify(message, signature)


def test_a_key_is_the_same_in_a_document_and_on_its_own(fixtures):
    for case in cases(fixtures, "signature-fixtures.json"):
        key = parse_did_key(case["publicKeyDid"])
        assert key.did_key == case["publicKeyDid"]
        assert key.curve == {"ES256": Curve.P256, "ES256K": Curve.K256}[case["algorithm"]]
        assert parse_document_key(case["didDocSuite"], case["publicKeyMultibase"]) == key


def test_private_keys_have_the_public_ones_that_the_vectors_name(fixtures):
    of_k256, of_p256 = cases(fixtures, "w3c_didkey_K256.json"), cases(fixtures, "w3c_didkey_P256.json")
    assert (len(of_k256), len(of_p256)) == (5, 1)
    for case in of_k256:
        key = parse_signing_key(case["privateKeyBytesHex"], hex_curve=Curve.K256)
        assert key.public_key.did_key == case["publicDidKey"]
        assert parse_did_key(case["publicDidKey"]) == key.public_key
    for case in of_p256:
        key = signing_key_of(Curve.P256, base58.decode(case["privateKeyBytesBase58"]))
        assert key.public_key.did_key == case["publicDidKey"]
        assert parse_did_key(case["publicDidKey"]) == key.public_key
