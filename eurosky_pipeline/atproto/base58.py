"""Base58 with Bitcoin's alphabet (base58btc), as keys are spelled; for short texts only.

Each leading zero byte is a leading `1`, so every byte string has exactly one spelling and every spelling is of one.
Spec: https://datatracker.ietf.org/doc/html/draft-msporny-base58-03
"""

from __future__ import annotations

from typing import Final

MAX_TEXT_LENGTH: Final = 128
"""Longer than any key's spelling (89); the work grows with the square of the length."""

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {character: digit for digit, character in enumerate(_ALPHABET)}


def encode(data: bytes) -> str:
    """The one spelling of these bytes, without multibase's `z`. Raises ValueError if it would be too long to decode."""
    number, text = int.from_bytes(data, "big"), ""
    if len(data) > MAX_TEXT_LENGTH:
        raise ValueError("too long for base58")
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    text = "1" * (len(data) - len(data.lstrip(b"\0"))) + text
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError("too long for base58")
    return text


def decode(text: str) -> bytes:
    """The bytes of a spelling without multibase's `z`.

    Raises ValueError for a foreign character or more than `MAX_TEXT_LENGTH` of them. The text may be a secret: the
    message does not show it.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"longer than {MAX_TEXT_LENGTH} characters")
    number = 0
    for place, character in enumerate(text):
        if character not in _DIGITS:
            raise ValueError(f"character {place + 1} is not one of base58")
        number = number * 58 + _DIGITS[character]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
