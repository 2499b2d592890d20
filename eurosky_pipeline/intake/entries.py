"""A row judged by itself: what it says is an offer to the registry, or it is refused with a reason.

No reason repeats a value that may be a password: where columns are mixed up, one can stand anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from pydantic import SecretStr

from eurosky_pipeline.atproto.syntax import is_account_did, is_handle
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.rows import Row, RowRefused
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.words import one_line
from eurosky_pipeline.xrpc.host_policy import HostPolicy

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_OTHERS_SECRETS = re.compile(r"(AWS|AZURE|GOOGLE|GITHUB)_[A-Z0-9_]+|PGPASSWORD", re.ASCII)
_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0"})
_HOSTS_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the command says for rows that leave it out; hosts as a person writes them."""

    source_pds: str | None = None
    destination_pds: str | None = None
    passwords: Mapping[Side, SecretStr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row whose every value is sound. `did` is None where its handle has still to be looked up."""

    line: int
    did: str | None
    handle: str | None
    source_pds: str
    destination_pds: str
    convert_legacy_blobs: bool | None
    is_active_destination_allowed: bool
    passwords: Mapping[Side, SecretStr]


class Judge:
    """Makes entries of rows.

    Args:
        environment: where the passwords of `…_password_env` stand.
    """

    def __init__(self, policy: HostPolicy, environment: Mapping[str, str], defaults: Defaults) -> None:
        self._environment, self._defaults = environment, defaults
        # a long list names few hosts; what is refused is not remembered
        self._normalize: Callable[[str], str] = lru_cache(_HOSTS_REMEMBERED)(policy.normalize)

    def entry(self, row: Row) -> Entry:
        """Raises: RowRefused."""
        values = row.values
        did = values.get("did", "").strip() or None
        handle = _spelled(values.get("handle", "")) or None
        _check_account(did, handle)
        source = self._host(values, "source_pds", self._defaults.source_pds)
        destination = self._host(values, "destination_pds", self._defaults.destination_pds)
        if source == destination:
            raise RowRefused(f"source and destination are the same host, {one_line(source)}")
        return Entry(
            line=row.line,
            did=did,
            handle=handle,
            source_pds=source,
            destination_pds=destination,
            convert_legacy_blobs=_switch(values, "convert_legacy_blobs"),
            is_active_destination_allowed=_switch(values, "allow_active_destination") or False,
            passwords=self._passwords(values),
        )

    def _host(self, values: Mapping[str, str], column: str, default: str | None) -> str:
        url = values.get(column, "").strip() or default
        if not url:
            raise RowRefused(f"{column} is missing, in the row and as an option")
        if not url.lower().startswith(("http://", "https://")) or "@" in url:
            raise RowRefused(f"{column} is not a URL like https://pds.example.com")
        try:
            return self._normalize(url)
        except SettingsError as error:
            raise RowRefused(f"{column}: {_without(error.message, url)}") from None

    def _passwords(self, values: Mapping[str, str]) -> dict[Side, SecretStr]:
        found = dict(self._defaults.passwords)
        for side in Side:
            given, variable = values.get(f"{side}_password"), values.get(f"{side}_password_env", "").strip()
            if given and variable:
                raise RowRefused(f"{side}_password and {side}_password_env are both given")
            if given or variable:
                found[side] = SecretStr(given or self._from_environment(f"{side}_password_env", variable))
        if Side.DESTINATION not in found:
            raise RowRefused("destination_password is missing, and so is destination_password_env")
        return found

    def _from_environment(self, column: str, name: str) -> str:
        if not _VARIABLE.fullmatch(name):  # it may be a password in the wrong column
            raise RowRefused(f"{column} is not the name of an environment variable")
        if name in _own_variables() or _OTHERS_SECRETS.fullmatch(name):
            raise RowRefused(
                f"{column} names {one_line(name, 40)}, which holds something else: no host may be sent that"
            )
        value = self._environment.get(name, "")
        if not value:
            raise RowRefused(f"{column}: no variable of that name is set in the environment")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RowRefused(f"{column}: the variable holds bytes that are no text in UTF-8") from None
        return value


@lru_cache(maxsize=1)
def _own_variables() -> frozenset[str]:
    """Our own settings: keys and URLs that a list could otherwise have sent to any host as a password."""
    return frozenset(str(field.validation_alias) for field in Settings.model_fields.values())


def _check_account(did: str | None, handle: str | None) -> None:
    if did is None and handle is None:
        raise RowRefused("it has neither did nor handle")
    if did is not None and not is_account_did(did):
        shown = f" {one_line(did)!r}" if did.startswith("did:") else ""
        raise RowRefused(f"did{shown} is not a DID like did:plc:… or did:web:…")
    if did is not None and not did.startswith(("did:plc:", "did:web:")):
        raise RowRefused(f"did {one_line(did)} is of a method that is not supported: did:plc and did:web are")
    if handle is not None and not is_handle(handle):
        raise RowRefused("handle is not a handle like alice.example")


def _spelled(handle: str) -> str:
    """Without the @ of a mention, in lower case; letters beyond ASCII are left for the check."""
    name = handle.strip().removeprefix("@")
    return name.lower() if name.isascii() else name


def _switch(values: Mapping[str, str], column: str) -> bool | None:
    text = values.get(column, "").strip().lower()
    if text not in _TRUE | _FALSE | {""}:
        raise RowRefused(f"{column} is neither true nor false")
    return None if not text else text in _TRUE


def _without(message: str, url: str) -> str:
    """What the host policy says, with the URL shortened where it is long."""
    _, quote, why = message.rpartition("' ")
    return f"{one_line(url)!r} {why}" if quote and len(url) > len(one_line(url)) else message
