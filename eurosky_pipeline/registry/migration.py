"""A migration as a value: one row of the registry, checked and frozen."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eurosky_pipeline.atproto.syntax import is_account_did, is_handle
from eurosky_pipeline.errors import ConflictError, SettingsError
from eurosky_pipeline.registry.states import State

_TOKEN_ALPHABET = string.ascii_uppercase + string.digits
_TOKEN_CHARS = 16
FORGOTTEN = "did:forgotten:"
"""Stands, with the token, in the place of a DID that was purged."""
_TOKEN = re.compile(r"EURO-[A-Z0-9]{16}")


@dataclass(frozen=True, slots=True)
class NewMigration:
    """What a person asks for. Hosts are base URLs that the host policy has accepted.

    Raises: SettingsError for a DID or handle that is none, or where source and destination are the same host.
    """

    did: str
    source_pds: str
    destination_pds: str
    handle: str | None = None
    convert_legacy_blobs: bool | None = None
    is_active_destination_allowed: bool = False

    def __post_init__(self) -> None:
        if not is_account_did(self.did):
            raise SettingsError(
                f"{self.did[:100]!r} is not a DID", code="did_invalid", hint="it looks like did:plc:… or did:web:…"
            )
        if not self.did.startswith(("did:plc:", "did:web:")):
            raise SettingsError(
                f"{self.did[:100]} is of a method that is not supported",
                code="did_unsupported",
                hint="did:plc and did:web are",
            )
        if self.handle is not None and not is_handle(self.handle):
            raise SettingsError(
                f"{self.handle[:100]!r} is not a handle", code="handle_invalid", hint="like alice.example"
            )
        if self.source_pds == self.destination_pds:
            raise SettingsError(
                f"source and destination are the same host, {self.source_pds}", code="same_host", hint="give two hosts"
            )


@dataclass(frozen=True, slots=True)
class Migration:
    """One row, as it was when it was read. `stopped_in` is where a stopped migration goes on, `resume_at` when a
    waiting one may; `start_wanted_at` is when it was registered or brought back, None since a run has begun on it."""

    token: str
    did: str
    handle: str | None
    source_pds: str
    destination_pds: str
    state: State
    stopped_in: State | None
    resume_at: datetime | None
    error_code: str | None
    error_text: str | None
    attempts: int
    convert_legacy_blobs: bool | None
    is_active_destination_allowed: bool
    progress_data: dict[str, Any]
    lease_holder: str | None
    lease_expires_at: datetime | None
    cancel_requested_at: datetime | None
    purged_at: datetime | None
    start_wanted_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Migration:
        values = dict(row)
        values["state"] = State(values["state"])
        values["stopped_in"] = State(values["stopped_in"]) if values["stopped_in"] else None
        return cls(**values)

    def require_known(self) -> None:
        """Raises ConflictError for one of which nobody knows any more whose it was."""
        if self.did.startswith(FORGOTTEN):
            raise ConflictError(
                f"{self.token} is forgotten: whose account it moved is not known any more",
                code="forgotten",
                hint="to move the account once more, add it anew",
            )


def new_token() -> str:
    """`EURO-` and 16 of A–Z0–9: opaque, safe in paths, and 82 bits of chance."""
    number = secrets.randbelow(len(_TOKEN_ALPHABET) ** _TOKEN_CHARS)  # drawn at once: a long list needs many
    chars = []
    for _ in range(_TOKEN_CHARS):
        number, place = divmod(number, len(_TOKEN_ALPHABET))
        chars.append(_TOKEN_ALPHABET[place])
    return "EURO-" + "".join(chars)


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None
