"""Keys as text: two curves, one spelling for each key, and no secret ever shown."""

import copy
import dataclasses
import pickle
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eurosky_pipeline.atproto import base58
from eurosky_pipeline.atproto.keys import (
    Curve,
    PublicKey,
    PublicKeyError,
    SigningKeyError,
    parse_did_key,
    parse_document_key,
    parse_multikey,
    parse_signing_key,
    signing_key_of,
)

SECRETS = {
    Curve.K256: bytes.fromhex("9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c"),
    Curve.P256: bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
}
KEYS = {curve: signing_key_of(curve, secret) for curve, secret in SECRETS.items()}
PUBLIC_CODECS = {Curve.K256: b"\xe7\x01", Curve.P256: b"\x80\x24"}
PRIVATE_CODECS = {Curve.K256: b"\x81\x26", Curve.P256: b"\x86\x26"}
TYPES_OF_2019 = {
    Curve.K256: "EcdsaSecp256k1VerificationKey2019",
    Curve.P256: "EcdsaSecp256r1VerificationKey2019",
}
SHAPES = {Curve.K256: ec.SECP256K1(), Curve.P256: ec.SECP256R1()}
ORDERS = {
    Curve.K256: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    Curve.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
}
MESSAGE = b"what is signed"

both_curves = pytest.mark.parametrize("curve", list(Curve))


def point(curve: Curve) -> bytes:
    return KEYS[curve].public_key.point


def uncompressed(curve: Curve) -> bytes:
    loaded = ec.EllipticCurvePublicKey.from_encoded_point(SHAPES[curve], point(curve))
    return loaded.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def off_the_curve(curve: Curve) -> bytes:
    """A compressed point whose x no point of the curve has."""
    for x in range(1, 100):
        raw = b"\x02" + x.to_bytes(32, "big")
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(SHAPES[curve], raw)
        except ValueError:
            return raw
    raise AssertionError("half of all numbers are no x of the curve")


def z(data: bytes) -> str:
    return "z" + base58.encode(data)


@pytest.mark.parametrize(
    ("text", "curve"),
    [
        ("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", Curve.K256),
        ("did:key:zDnaepBuvsQ8cpsWrVKw8fbpGpvPeNSjVPTWoq6cRqaYzBKVP", Curve.P256),
    ],
)
def test_a_did_key_is_read_and_written_the_same(text, curve):
    key = parse_did_key(text)
    assert (key.curve, key.did_key, "did:key:" + key.multikey) == (curve, text, text)
    assert len(key.point) == 33
    assert key == KEYS[curve].public_key
    assert parse_multikey(text.removeprefix("did:key:")) == key


@both_curves
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda curve: PUBLIC_CODECS[curve] + uncompressed(curve), "33 bytes, not 65"),
        (lambda curve: PUBLIC_CODECS[curve] + point(curve)[:-1], "33 bytes, not 32"),
        (lambda curve: PUBLIC_CODECS[curve] + point(curve) + b"\0", "33 bytes, not 34"),
        (lambda curve: PUBLIC_CODECS[curve], "33 bytes, not 0"),
        (lambda curve: PUBLIC_CODECS[curve] + b"\0", "33 bytes, not 1"),
        (lambda curve: PUBLIC_CODECS[curve] + b"\x04" + point(curve)[1:], "no point"),
        (lambda curve: PUBLIC_CODECS[curve] + b"\0" * 33, "no point"),
        (lambda curve: PUBLIC_CODECS[curve] + b"\x02" + b"\xff" * 32, "no point on the curve"),
        (lambda curve: PUBLIC_CODECS[curve] + off_the_curve(curve), "no point on the curve"),
        (lambda curve: PRIVATE_CODECS[curve] + SECRETS[curve], "private key"),
        (lambda curve: b"\xed\x01" + point(curve)[1:], "kind that the AT Protocol does not have"),
        (lambda curve: b"\0" + PUBLIC_CODECS[curve] + point(curve), "kind that the AT Protocol does not have"),
        (lambda curve: PUBLIC_CODECS[curve][:1], "kind that the AT Protocol does not have"),
        (lambda curve: b"", "kind that the AT Protocol does not have"),
    ],
)
def test_a_did_key_of_anything_but_a_compressed_point_is_refused(curve, spoil, message):
    with pytest.raises(PublicKeyError, match=message) as caught:
        parse_did_key("did:key:" + z(spoil(curve)))
    assert caught.value.code == "public_key"


def test_a_codec_that_is_not_in_its_shortest_form_is_refused():
    with pytest.raises(PublicKeyError, match="kind"):
        parse_multikey(z(b"\xe7\x81\x00" + point(Curve.K256)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:key:",
        "did:key",
        "did:key:z",
        "did:key:zz",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:Q3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:ZQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "DID:KEY:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme\n",
        " did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme#zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:z1Q3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:key:f" + ("e701" + "02" * 33),
        "did:key:z" + "2" * 200_000,
    ],
)
def test_a_text_that_is_no_did_key_is_refused(text):
    with pytest.raises(PublicKeyError):
        parse_did_key(text)


@both_curves
def test_a_private_key_given_for_a_public_one_is_not_shown(curve):
    text = z(PRIVATE_CODECS[curve] + SECRETS[curve])
    for given in (text, "did:key:" + text, "did:key:" + text + "\n", SECRETS[curve].hex()):
        with pytest.raises(PublicKeyError) as caught:
            parse_did_key(given)
        shown = "".join(traceback.format_exception(caught.value)) + caught.value.with_hint()
        assert text[1:9] not in shown
        assert SECRETS[curve].hex()[:8] not in shown


@both_curves
def test_a_public_key_cannot_be_made_of_anything_but_a_point_of_its_curve(curve):
    other = Curve.P256 if curve is Curve.K256 else Curve.K256
    for raw in (b"", uncompressed(curve), off_the_curve(curve), point(curve)[:32]):
        with pytest.raises(PublicKeyError):
            PublicKey(curve, raw)
    assert PublicKey(curve, point(curve)) == KEYS[curve].public_key
    assert PublicKey(curve, point(curve)) != KEYS[other].public_key
    with pytest.raises(dataclasses.FrozenInstanceError):
        KEYS[curve].public_key.point = b""


@both_curves
def test_a_key_is_read_in_each_form_that_documents_have(curve):
    forms = [
        ("Multikey", KEYS[curve].public_key.multikey),
        (TYPES_OF_2019[curve], z(uncompressed(curve))),
        (TYPES_OF_2019[curve], z(point(curve))),
    ]
    for kind, text in forms:
        assert parse_document_key(kind, text) == KEYS[curve].public_key


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("", KEYS[Curve.K256].public_key.multikey),
        ("multikey", KEYS[Curve.K256].public_key.multikey),
        ("JsonWebKey2020", KEYS[Curve.K256].public_key.multikey),
        ("Ed25519VerificationKey2020", KEYS[Curve.K256].public_key.multikey),
        ("Multikey", ""),
        ("Multikey", KEYS[Curve.K256].public_key.did_key),
        ("Multikey", z(point(Curve.K256))),
        ("Multikey", z(PUBLIC_CODECS[Curve.K256] + uncompressed(Curve.K256))),
        (TYPES_OF_2019[Curve.K256], KEYS[Curve.K256].public_key.multikey),
        (TYPES_OF_2019[Curve.P256], z(uncompressed(Curve.K256))),
        (TYPES_OF_2019[Curve.K256], z(uncompressed(Curve.P256))),
        (TYPES_OF_2019[Curve.K256], z(b"\x06" + uncompressed(Curve.K256)[1:])),
        (TYPES_OF_2019[Curve.K256], z(uncompressed(Curve.K256)[:-1] + bytes([uncompressed(Curve.K256)[-1] ^ 1]))),
        (TYPES_OF_2019[Curve.K256], z(uncompressed(Curve.K256)[1:])),
        (TYPES_OF_2019[Curve.K256], z(b"\0")),
        (TYPES_OF_2019[Curve.K256], base58.encode(uncompressed(Curve.K256))),
        (TYPES_OF_2019[Curve.K256], "z" + "2" * 200_000),
    ],
)
def test_a_key_in_a_document_that_is_none_is_refused(kind, text):
    with pytest.raises(PublicKeyError):
        parse_document_key(kind, text)


@both_curves
def test_a_signing_key_is_read_from_each_form(curve):
    data = PRIVATE_CODECS[curve] + SECRETS[curve]
    hex_text = SECRETS[curve].hex()
    for key in (
        parse_signing_key(z(data)),
        parse_signing_key("f" + data.hex()),
        parse_signing_key(hex_text, hex_curve=curve),
        parse_signing_key(hex_text.upper(), hex_curve=curve),
    ):
        assert key.public_key == KEYS[curve].public_key
        assert key.sign(MESSAGE) == KEYS[curve].sign(MESSAGE)


def test_plain_hex_does_not_tell_its_curve():
    with pytest.raises(SigningKeyError, match="curve"):
        parse_signing_key(SECRETS[Curve.K256].hex())


@both_curves
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data, curve: "", "multibase"),
        (lambda data, curve: "z", "unknown kind"),
        (lambda data, curve: base58.encode(data), "multibase"),
        (lambda data, curve: z(data) + "\n", "multibase"),
        (lambda data, curve: " " + z(data), "multibase"),
        (lambda data, curve: "F" + data.hex().upper(), "multibase"),
        (lambda data, curve: "f" + data.hex().upper(), "multibase"),
        (lambda data, curve: "f" + data.hex(" "), "multibase"),
        (lambda data, curve: "f" + data.hex()[:-1], "multibase"),
        (lambda data, curve: "f" + data.hex() + "\n", "multibase"),
        (lambda data, curve: "f" + "00" * 200_000, "multibase"),
        (lambda data, curve: "z" + "2" * 200_000, "multibase"),
        (lambda data, curve: SECRETS[curve].hex()[:-1], "multibase"),
        (lambda data, curve: SECRETS[curve].hex() + "\n", "multibase"),
        (lambda data, curve: z(SECRETS[curve]), "unknown kind"),
        (lambda data, curve: z(data[:-1]), "32 bytes"),
        (lambda data, curve: z(data + b"\0"), "32 bytes"),
        (lambda data, curve: z(data[:2] + bytes(32)), "32 bytes"),
        (lambda data, curve: z(data[:2] + ORDERS[curve].to_bytes(32, "big")), "no number"),
        (lambda data, curve: z(data[:2] + b"\xff" * 32), "no number"),
        (lambda data, curve: KEYS[curve].public_key.multikey, "a public key"),
        (lambda data, curve: KEYS[curve].public_key.did_key, "multibase"),
    ],
)
def test_a_text_that_is_no_signing_key_is_refused_without_showing_it(curve, spoil, message):
    text = spoil(PRIVATE_CODECS[curve] + SECRETS[curve], curve)
    with pytest.raises(SigningKeyError, match=message) as caught:
        parse_signing_key(text, hex_curve=curve)
    assert caught.value.code == "signing_key"
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.with_hint()
    assert text.strip()[1:9] not in shown or len(text) < 9
    assert SECRETS[curve].hex()[:6] not in shown.lower()


@both_curves
@pytest.mark.parametrize("number", [0, "order", "order + 1", 2**256 - 1])
def test_a_number_that_is_no_private_key_is_refused(curve, number):
    number = {"order": ORDERS[curve], "order + 1": ORDERS[curve] + 1}.get(number, number)
    with pytest.raises(SigningKeyError):
        signing_key_of(curve, number.to_bytes(32, "big"))
    with pytest.raises(SigningKeyError):
        signing_key_of(curve, (1).to_bytes(33, "big"))
    signing_key_of(curve, (1).to_bytes(32, "big"))
    signing_key_of(curve, (ORDERS[curve] - 1).to_bytes(32, "big"))


@both_curves
def test_a_signing_key_shows_its_public_half_only_and_cannot_be_pickled_or_copied(curve):
    key = KEYS[curve]
    number = str(int.from_bytes(SECRETS[curve], "big"))
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key})):
        for secret in (SECRETS[curve].hex(), repr(SECRETS[curve])[2:-1], number, z(SECRETS[curve]), "_private"):
            assert secret not in shown
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(key, protocol)
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            copied(key)
    with pytest.raises(dataclasses.FrozenInstanceError):
        key.public_key = KEYS[Curve.P256].public_key
