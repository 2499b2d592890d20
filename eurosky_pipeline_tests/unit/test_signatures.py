"""Signatures: those of RFC 6979 with the lower s, and each way to be none refused by what is wrong with it."""

import pytest

from eurosky_pipeline.atproto.keys import Curve, SignatureError, signing_key_of

P256_SECRET = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
KEYS = {curve: signing_key_of(curve, P256_SECRET) for curve in Curve}
ORDERS = {
    Curve.K256: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    Curve.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
}
MESSAGE = b"what is signed"

both_curves = pytest.mark.parametrize("curve", list(Curve))


def joined(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def split(signature: bytes) -> tuple[int, int]:
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


@pytest.mark.parametrize(
    ("curve", "secret", "message", "signature"),
    [
        (
            Curve.P256,
            P256_SECRET,
            b"sample",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
            "0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9",
        ),
        (
            Curve.P256,
            P256_SECRET,
            b"test",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        ),
        (
            Curve.K256,
            (1).to_bytes(32, "big"),
            b"Satoshi Nakamoto",
            "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
            "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
        ),
    ],
    ids=["RFC 6979 A.2.5, sample (its s is the higher one)", "RFC 6979 A.2.5, test", "secp256k1"],
)
def test_signatures_are_those_of_rfc_6979_with_the_lower_s(curve, secret, message, signature):
    key = signing_key_of(curve, secret)
    assert key.sign(message).hex() == signature
    key.public_key.verify(message, bytes.fromhex(signature))


@both_curves
def test_a_signature_with_a_leading_zero_byte_is_still_64_bytes(curve):
    signatures = (KEYS[curve].sign(n.to_bytes(2, "big")) for n in range(3000))
    short = next(signature for signature in signatures if signature[0] == 0)
    assert len(short) == 64


@both_curves
def test_a_signature_of_another_message_or_key_is_refused(curve):
    signature = KEYS[curve].sign(MESSAGE)
    KEYS[curve].public_key.verify(MESSAGE, signature)
    other_curve = Curve.P256 if curve is Curve.K256 else Curve.K256
    keys = [signing_key_of(curve, (7).to_bytes(32, "big")), KEYS[other_curve]]
    refusals = [(key.public_key, MESSAGE) for key in keys] + [(KEYS[curve].public_key, MESSAGE + b"\0")]
    for key, message in refusals:
        with pytest.raises(SignatureError) as caught:
            key.verify(message, signature)
        assert caught.value.code == "signature"


@both_curves
def test_the_higher_s_is_refused_although_it_fits_the_equation(curve):
    r, s = split(KEYS[curve].sign(MESSAGE))
    with pytest.raises(SignatureError, match="higher"):
        KEYS[curve].public_key.verify(MESSAGE, joined(r, ORDERS[curve] - s))


@both_curves
def test_the_highest_of_the_lower_s_is_looked_at_and_the_next_is_not(curve):
    half = ORDERS[curve] // 2
    r, _ = split(KEYS[curve].sign(MESSAGE))
    with pytest.raises(SignatureError, match="of other bytes"):
        KEYS[curve].public_key.verify(MESSAGE, joined(r, half))
    with pytest.raises(SignatureError, match="higher"):
        KEYS[curve].public_key.verify(MESSAGE, joined(r, half + 1))


@both_curves
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r, s, order: joined(0, s), "zero"),
        (lambda r, s, order: joined(r, 0), "zero"),
        (lambda r, s, order: bytes(64), "zero"),
        (lambda r, s, order: joined(order, s), "order"),
        (lambda r, s, order: joined(r, order), "order"),
        (lambda r, s, order: b"\xff" * 64, "order"),
        (lambda r, s, order: b"", "64 bytes, and this is 0"),
        (lambda r, s, order: joined(r, s)[:-1], "64 bytes, and this is 63"),
        (lambda r, s, order: joined(r, s) + b"\0", "64 bytes, and this is 65"),
        (lambda r, s, order: b"\x30\x45" + joined(r, s), "DER"),
    ],
)
def test_bytes_that_are_no_signature_are_refused_by_what_is_wrong_with_them(curve, spoil, message):
    r, s = split(KEYS[curve].sign(MESSAGE))
    with pytest.raises(SignatureError, match=message):
        KEYS[curve].public_key.verify(MESSAGE, spoil(r, s, ORDERS[curve]))
