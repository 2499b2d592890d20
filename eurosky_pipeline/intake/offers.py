"""An account that a source offers, as a row: nothing of it is believed, and it cannot name a secret of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from eurosky_pipeline.intake.rows import MAX_FIELD_BYTES, TOLD_ONLY, TOO_LONG, Row, RowRefused
from eurosky_pipeline.plugins.intake_sources import ACCOUNT_FIELDS, PASSWORDS, Account
from eurosky_pipeline.words import one_line

_MAX_FIELDS: Final = 64


def row_of(account: Account, line: int) -> Row:
    """Raises: RowRefused; its text repeats no value."""
    fields: Any = account.fields
    if not isinstance(fields, Mapping) or len(fields) > _MAX_FIELDS:
        raise RowRefused(f"its fields are no mapping of at most {_MAX_FIELDS}")
    values: dict[str, str] = {}
    for name, value in fields.items():
        if name in TOLD_ONLY or value is None or value == "":
            continue
        if name in (f"{password}_env" for password in PASSWORDS):
            raise RowRefused(
                f"{name}: what comes from elsewhere cannot name a variable of this machine's environment; "
                f"give the password itself, as {name.removesuffix('_env')}"
            )
        if name not in ACCOUNT_FIELDS:
            raise RowRefused(f"it has a field that no account has, {one_line(repr(name), 42)}")
        values[name] = _text(name, value)
    return Row(line, values)


def _text(name: str, value: object) -> str:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        raise RowRefused(f"{name} is no text")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise RowRefused(f"{name} holds a character that no text has")
    if len(text.encode()) > MAX_FIELD_BYTES:
        raise RowRefused(TOO_LONG)
    return text
