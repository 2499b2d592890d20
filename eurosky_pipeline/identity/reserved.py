"""Top-level domains below which no account can be.

Spec: https://atproto.com/specs/handle#additional-non-syntax-restrictions
"""

from __future__ import annotations

from typing import Final

TEST_DOMAIN: Final = "test"
"""Reserved too, but a test network may use it."""

_RESERVED: Final = frozenset(
    {"alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", TEST_DOMAIN}
)


def reserved_domain(name: str) -> str | None:
    """The reserved top-level domain that a domain name ends in, in any case; None if it is an ordinary one."""
    last = name.lower().rpartition(".")[2]
    return last if last in _RESERVED else None
