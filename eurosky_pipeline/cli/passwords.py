"""Passwords from where a person has put them: never from the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from eurosky_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr


def password_of(variable: str) -> SecretStr:
    """The password in this environment variable. Raises SettingsError if there is none, or if it is no text."""
    from pydantic import SecretStr

    value = os.environ.get(variable, "")
    if not value:
        raise SettingsError(
            f"the environment variable {variable} is not set, or empty",
            code="password_missing",
            hint=f"`read -rs {variable} && export {variable}` sets it without showing it",
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SettingsError(
            f"the environment variable {variable} holds bytes that are no text in UTF-8",
            code="password_invalid",
            hint="set it in a UTF-8 locale",
        ) from None
    return SecretStr(value)
