"""The vault: passwords encrypted at rest, and tied to the migration and the side that they were given for.

Fernet (AES-128-CBC with HMAC-SHA256) from `cryptography`. The key comes from `EUROSKY_VAULT_KEY`; with the embedded
SQLite, and only there, the vault makes one in a file that nobody else can read. There is no key to fall back to.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.registry.database import is_embedded
from eurosky_pipeline.settings import Settings

KEY_FILE_NAME = "vault.key"


class VaultError(FatalError):
    """A credential cannot be read: the key is another one than it was sealed with, or the row was tampered with."""

    default_code = "vault"


class Side(StrEnum):
    """Whose password it is."""

    SOURCE = "source"
    DESTINATION = "destination"


class Vault:
    """Seal and open passwords. `repr` shows nothing of the key."""

    def __init__(self, keys: list[bytes]) -> None:
        """Args: keys: newest first; the first one seals, any may open. Raises SettingsError for one that is no key."""
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise SettingsError(
                "the vault key is not a Fernet key (32 bytes in URL-safe base64)",
                code="vault_key_invalid",
                hint="`eurosky vault new-key` makes one; put it into EUROSKY_VAULT_KEY",
            ) from None

    def seal(self, token: str, side: Side, password: SecretStr) -> bytes:
        """The ciphertext of a password, for this migration and side only."""
        plain = json.dumps({"token": token, "side": side, "password": password.get_secret_value()})
        return self._fernet.encrypt(plain.encode())

    def open(self, token: str, side: Side, ciphertext: bytes) -> SecretStr:
        """Raises VaultError if no key fits, or the ciphertext belongs to another migration or side."""
        try:
            plain = json.loads(self._fernet.decrypt(ciphertext))
        except InvalidToken:
            raise VaultError(
                f"the {side} password of {token} cannot be decrypted with the vault key in use",
                code="vault_key_wrong",
                hint="restore the key that it was sealed with, or add the migration again",
            ) from None
        if plain["token"] != token or plain["side"] != side:
            raise VaultError(
                f"the {side} password of {token} was sealed for another migration or side",
                hint="somebody has changed the database; cancel the migration, and add it again",
            )
        return SecretStr(plain["password"])


def new_key() -> str:
    """A fresh key, as `EUROSKY_VAULT_KEY` takes it."""
    return Fernet.generate_key().decode("ascii")


def open_vault(settings: Settings) -> Vault:
    """The vault with the key of the settings, or with the embedded default's own key file, made at its first use.

    Raises:
        SettingsError: a server database without a key, a key file that others can read, or something that is no key.
    """
    if settings.vault_key is not None:
        keys = [part.strip().encode() for part in settings.vault_key.get_secret_value().split(",") if part.strip()]
        return Vault(keys)
    if not is_embedded(settings):
        raise SettingsError(
            "a database server is used, and EUROSKY_VAULT_KEY is not set",
            code="vault_key_missing",
            hint="`eurosky vault new-key` makes one; every host of this deployment needs the same",
        )
    return Vault([_key_from_file(settings.home / KEY_FILE_NAME)])


def _key_from_file(path: Path) -> bytes:
    if not path.exists():
        _make_key_file(path)
    if path.stat().st_mode & 0o077:
        raise SettingsError(
            f"the vault key file {path} can be read by others",
            code="vault_key_exposed",
            hint=f"chmod 600 {path}, and consider its passwords known",
        )
    return path.read_bytes().strip()


def _make_key_file(path: Path) -> None:
    """Make the file whole or not at all; of two processes that come at once, one makes it and both use it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(new_key())
        with suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        Path(scratch).unlink()
