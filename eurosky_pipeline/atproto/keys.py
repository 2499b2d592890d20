"""Keys and signatures: the two curves of the AT Protocol, and the texts that keys are written in.

    did:key:zQ3sh…     a public key on its own        z + base58btc( multicodec, compressed point )
    Multikey           … in a DID document            the same, without `did:key:`
    …Key2019           … in an older DID document     z + base58btc( point ); the curve is the type's
    z… or f…           a private key                  multibase( multicodec, 32 bytes )

A signature is ECDSA over SHA-256, its nonce by RFC 6979, 64 bytes of r and s. Of the two s that fit (s and order - s)
only the lower one is written or accepted: otherwise anybody could give a commit a second CID without the key.

Importing this module loads OpenSSL, so whoever only sometimes needs a key imports it where the need is.
Specs: https://atproto.com/specs/cryptography and https://atproto.com/specs/did
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eurosky_pipeline.atproto import base58
from eurosky_pipeline.errors import IntegrityError, SettingsError

DID_KEY_PREFIX: Final = "did:key:"
SIGNATURE_BYTES: Final = 64
_SECRET_BYTES: Final = 32
_COMPRESSED_BYTES: Final = 33
_UNCOMPRESSED_BYTES: Final = 65


class Curve(StrEnum):
    """The elliptic curves that the AT Protocol blesses."""

    K256 = "k256"
    """secp256k1, which nearly every account signs with."""

    P256 = "p256"
    """NIST P-256, also secp256r1."""


_CURVES: Final[Mapping[Curve, ec.EllipticCurve]] = {Curve.K256: ec.SECP256K1(), Curve.P256: ec.SECP256R1()}
_ORDERS: Final[Mapping[Curve, int]] = {
    Curve.K256: 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141,
    Curve.P256: 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
}
_PUBLIC_CODECS: Final[Mapping[Curve, bytes]] = {Curve.K256: b"\xe7\x01", Curve.P256: b"\x80\x24"}
_PRIVATE_CODECS: Final[Mapping[Curve, bytes]] = {Curve.K256: b"\x81\x26", Curve.P256: b"\x86\x26"}
_TYPES_OF_2019: Final[Mapping[str, Curve]] = {
    "EcdsaSecp256k1VerificationKey2019": Curve.K256,
    "EcdsaSecp256r1VerificationKey2019": Curve.P256,
}
_HASH: Final = ec.ECDSA(SHA256())
_HASH_RFC6979: Final = ec.ECDSA(SHA256(), deterministic_signing=True)
_HEX_KEY: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_BASE16: Final = re.compile(r"f(?:[0-9a-f]{2}){1,64}", re.ASCII)


class PublicKeyError(IntegrityError):
    """Not a public key, or not one that the AT Protocol has. The message never shows the text: it may be a secret."""

    default_code = "public_key"


class SignatureError(IntegrityError):
    """Not a signature of these bytes by this key."""

    default_code = "signature"


class SigningKeyError(SettingsError):
    """Not a private key that can sign. The message never shows any of it."""

    default_code = "signing_key"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A point on one of the two curves, checked to be on it.

    Args:
        point: 33 bytes, compressed.

    Raises: PublicKeyError if it is no such point.
    """

    curve: Curve
    point: bytes

    def __post_init__(self) -> None:
        if len(self.point) != _COMPRESSED_BYTES:
            raise PublicKeyError(f"a compressed public key is {_COMPRESSED_BYTES} bytes, not {len(self.point)}")
        _load_point(self.curve, self.point)

    @property
    def multikey(self) -> str:
        """As `publicKeyMultibase` of a `Multikey` has it."""
        return "z" + base58.encode(_PUBLIC_CODECS[self.curve] + self.point)

    @property
    def did_key(self) -> str:
        return DID_KEY_PREFIX + self.multikey

    def verify(self, message: bytes, signature: bytes) -> None:
        """Do nothing if `signature` (64 bytes, r and s) is of `message` by this key; a bool could be overlooked.

        Raises: SignatureError, saying what is wrong with it.
        """
        if len(signature) != SIGNATURE_BYTES:
            kind = ", as in DER" if signature[:1] == b"\x30" and len(signature) > SIGNATURE_BYTES else ""
            raise SignatureError(f"a signature is {SIGNATURE_BYTES} bytes, and this is {len(signature)}{kind}")
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        order = _ORDERS[self.curve]
        if not 0 < r < order or not 0 < s < order:
            raise SignatureError("r or s of the signature is zero, or not below the order of the curve")
        if s > order // 2:
            raise SignatureError(
                "s of the signature is the higher one of the two that fit, where the lower one is demanded",
                hint="signatures of 2022 and early 2023 may be so; the account's next write makes a new one",
            )
        try:
            _load_point(self.curve, self.point).verify(encode_dss_signature(r, s), message, _HASH)
        except InvalidSignature:
            raise SignatureError("the signature is of other bytes, or by another key") from None


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private key; made by `parse_signing_key` or `signing_key_of`. It shows its public half only."""

    public_key: PublicKey
    _private: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """64 bytes, r and s, with the lower s; the same for the same key and message at any time."""
        r, s = decode_dss_signature(self._private.sign(message, _HASH_RFC6979))
        s = min(s, _ORDERS[self.public_key.curve] - s)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key is a secret: it is neither pickled nor copied")


def parse_did_key(text: str) -> PublicKey:
    """A public key from `did:key:z…`. Raises PublicKeyError."""
    if not text.startswith(DID_KEY_PREFIX):
        raise PublicKeyError("the key does not begin with did:key:", hint="a key looks like did:key:zQ3sh… or zDna…")
    return parse_multikey(text.removeprefix(DID_KEY_PREFIX))


def parse_multikey(text: str) -> PublicKey:
    """A public key from `z…`: what follows `did:key:`, and stands in DID documents. Raises PublicKeyError."""
    data = _public_bytes(text)
    for curve, codec in _PUBLIC_CODECS.items():
        if data.startswith(codec):
            return PublicKey(curve, data.removeprefix(codec))
    if data.startswith(tuple(_PRIVATE_CODECS.values())):
        raise PublicKeyError(
            "this is a private key, where a public one belongs", hint="whoever saw it can sign: keep it"
        )
    raise PublicKeyError("the key is of a kind that the AT Protocol does not have: secp256k1 and P-256 are the two")


def parse_document_key(kind: str, text: str) -> PublicKey:
    """A public key as a DID document has it: a verification method's `type` and `publicKeyMultibase`.

    Raises: PublicKeyError.
    """
    if kind == "Multikey":
        return parse_multikey(text)
    curve = _TYPES_OF_2019.get(kind)
    if curve is None:
        raise PublicKeyError(f"the key in the DID document is of an unknown type: {kind[:80]!r}")
    # Directories write the point uncompressed here, and the interoperability vectors have it compressed.
    return PublicKey(curve, _compress(_load_point(curve, _public_bytes(text))))


def parse_signing_key(text: str, *, hex_curve: Curve | None = None) -> SigningKey:
    """A private key from text.

    Args:
        text: multibase (`z…` in base58btc, `f…` in lower-case hex) that begins with the curve's code; or
            64 hex digits, as PDSes keep their keys.
        hex_curve: the curve of 64 hex digits, which do not tell it; without it they are refused.

    Raises: SigningKeyError, without a character of the text.
    """
    if _HEX_KEY.fullmatch(text):
        if hex_curve is None:
            raise SigningKeyError(
                "the signing key is plain hex, which does not tell its curve",
                hint="give it as multibase: f8126 (secp256k1) or f8626 (P-256) before lower-case hex will do",
            )
        return signing_key_of(hex_curve, bytes.fromhex(text))
    data = _private_bytes(text)
    for curve, codec in _PRIVATE_CODECS.items():
        if data.startswith(codec):
            return signing_key_of(curve, data.removeprefix(codec))
    kind = "a public key" if data.startswith(tuple(_PUBLIC_CODECS.values())) else "of an unknown kind"
    raise SigningKeyError(
        f"the signing key is {kind}, and not private of secp256k1 or P-256", hint="give the account's private key"
    )


def signing_key_of(curve: Curve, secret: bytes) -> SigningKey:
    """A private key from its 32 bytes. Raises SigningKeyError."""
    number = int.from_bytes(secret, "big")
    if len(secret) != _SECRET_BYTES or not 0 < number < _ORDERS[curve]:
        raise SigningKeyError(
            f"the signing key is not {_SECRET_BYTES} bytes, or no number that {curve} can sign with",
            hint="it has been cut short or mistyped; give it whole",
        )
    private = ec.derive_private_key(number, _CURVES[curve])
    return SigningKey(PublicKey(curve, _compress(private.public_key())), private)


def _public_bytes(text: str) -> bytes:
    try:
        return _base58_bytes(text)
    except ValueError as error:
        raise PublicKeyError(f"the key is not in base58btc: {error}") from None


def _private_bytes(text: str) -> bytes:
    if _BASE16.fullmatch(text):
        return bytes.fromhex(text[1:])
    try:
        return _base58_bytes(text)
    except ValueError:
        raise SigningKeyError(
            "the signing key is not in multibase: neither z and base58btc, nor f and lower-case hex",
            hint="look for a missing first letter, and for blanks or line ends around it",
        ) from None


def _base58_bytes(text: str) -> bytes:
    if not text.startswith("z"):
        raise ValueError("it does not begin with z")
    return base58.decode(text[1:])


def _load_point(curve: Curve, raw: bytes) -> ec.EllipticCurvePublicKey:
    """Compressed or not, never hybrid or the point at infinity."""
    if (len(raw), raw[:1]) not in (
        (_COMPRESSED_BYTES, b"\x02"),
        (_COMPRESSED_BYTES, b"\x03"),
        (_UNCOMPRESSED_BYTES, b"\x04"),
    ):
        raise PublicKeyError(f"the key's {len(raw)} bytes are no point of a curve")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve], raw)
    except ValueError:
        raise PublicKeyError(f"the key is no point on the curve {curve}") from None


def _compress(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
