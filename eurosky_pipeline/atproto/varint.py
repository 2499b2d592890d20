"""Unsigned varints, as multiformats has them. Spec: https://github.com/multiformats/unsigned-varint"""

from __future__ import annotations

from typing import Protocol

from eurosky_pipeline.errors import IntegrityError

MAX_VARINT_BYTES = 9


class Readable(Protocol):
    """What is read from: a file opened for bytes, or anything else that gives them in order."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, and none only at the end."""


class VarintError(IntegrityError):
    """Cut short, longer than 9 bytes, or not the shortest form."""

    default_code = "varint"


def encode_varint(number: int) -> bytes:
    """The shortest form of `number`. Raises ValueError outside 0 <= number < 2**63."""
    if not 0 <= number < 2**63:
        raise ValueError(f"{number} does not fit a varint")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(stream: Readable, *, offset: int = 0) -> tuple[int, int] | None:
    """Read one varint; None only at a clean end of the stream.

    Args:
        offset: where the stream stands, in bytes, for error messages.

    Returns: (number, bytes read), 0 <= number < 2**63.
    Raises: VarintError if cut short, too long or not minimal, so that a truncated CAR can never look whole.
    """
    number = 0
    for length in range(1, MAX_VARINT_BYTES + 1):
        byte = stream.read(1)
        if not byte:
            if length == 1:
                return None
            raise VarintError("the file ends inside a varint", offset=offset)
        value = byte[0]
        number |= (value & 0x7F) << (7 * (length - 1))
        if value < 0x80:
            if value == 0 and length > 1:
                raise VarintError("a varint is not in its shortest form", offset=offset)
            return number, length
    raise VarintError(f"a varint is longer than {MAX_VARINT_BYTES} bytes", offset=offset)
