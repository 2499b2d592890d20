"""The vault: passwords encrypted at rest, and tied to the migration and the side that they were given for.

Fernet (AES-128-CBC with HMAC-SHA256) from `cryptography`. The keys come from `EUROSKY_VAULT_KEY`; with the embedded
SQLite, and only there, the vault makes one in a file that nobody else can read. There is no key to fall back to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.registry.database import is_embedded
from eurosky_pipeline.registry.key_file import KEY_FILE_NAME, KeyFile
from eurosky_pipeline.settings import Settings

__all__ = ["KEY_FILE_NAME", "Side", "Vault", "VaultError", "new_key", "open_vault"]


class VaultError(FatalError):
    """A credential cannot be read: the key is another one than it was sealed with, or the row was tampered with."""

    default_code = "vault"


class Side(StrEnum):
    """Whose password it is."""

    SOURCE = "source"
    DESTINATION = "destination"


class Vault:
    """Seal and open passwords. `repr` shows nothing of the keys."""

    def __init__(self, keys: Sequence[bytes] | KeyFile) -> None:
        """
        Args:
            keys: newest first; the first one seals, any may open. Those of a file are looked at again at each use, so
                that a process that runs on goes along with a rotation.

        Raises: SettingsError for one that is no key.
        """
        self._file = keys if isinstance(keys, KeyFile) else None
        self._fernets = () if isinstance(keys, KeyFile) else _fernets(keys)
        self._keys_of_fernets: Sequence[bytes] = ()

    def seal(self, token: str, side: Side, password: SecretStr) -> bytes:
        """The ciphertext of a password, for this migration and side only.

        Inside the transaction that writes it, or a rotation that ends meanwhile has thrown its key away.
        """
        plain = json.dumps({"token": token, "side": side, "password": password.get_secret_value()})
        return self._ring()[0].encrypt(plain.encode())

    def open(self, token: str, side: Side, ciphertext: bytes) -> SecretStr:
        """Raises VaultError if no key fits, or the ciphertext belongs to another migration or side."""
        return self.open_with(token, side, ciphertext)[1]

    def open_with(self, token: str, side: Side, ciphertext: bytes) -> tuple[int, SecretStr]:
        """The same, and which key opened it, 0 for the newest."""
        for number, fernet in enumerate(self._ring()):
            try:
                plain = json.loads(fernet.decrypt(ciphertext))
            except InvalidToken:
                continue
            if plain["token"] != token or plain["side"] != side:
                raise VaultError(
                    f"the {side} password of {token} was sealed for another migration or side",
                    hint="somebody has changed the database; cancel the migration, and add it again",
                )
            return number, SecretStr(plain["password"])
        raise VaultError(
            f"the {side} password of {token} cannot be decrypted with the vault key in use",
            code="vault_key_wrong",
            hint=f"restore the key that it was sealed with, or give the password anew: "
            f"`eurosky migrations retry {token} --{side}-password-env VAR`",
        )

    @property
    def key_count(self) -> int:
        return len(self._ring())

    def _ring(self) -> tuple[Fernet, ...]:
        if self._file is None:
            return self._fernets
        keys = self._file.keys()
        if keys is not self._keys_of_fernets:
            self._fernets, self._keys_of_fernets = _fernets(keys), keys
        return self._fernets


def new_key() -> str:
    """A fresh key, as `EUROSKY_VAULT_KEY` takes it."""
    return Fernet.generate_key().decode("ascii")


def open_vault(settings: Settings, has_sealed: Callable[[], bool] = lambda: False) -> Vault:
    """The vault with the keys of the settings, or with the embedded default's own key file, made at its first use.

    Args:
        has_sealed: whether anything is sealed already; no key is made then, since the one that is needed is lost: what
            seals or opens tells so, and whoever needs no password can go on.

    Raises:
        SettingsError: a server database without a key, a key file that others can read, or something that is no key.
    """
    if settings.vault_key is not None:
        return Vault(
            [part.strip().encode() for part in settings.vault_key.get_secret_value().split(",") if part.strip()]
        )
    file = key_file(settings)
    if file is None:
        raise SettingsError(
            "a database server is used, and EUROSKY_VAULT_KEY is not set",
            code="vault_key_missing",
            hint="`eurosky vault new-key` makes one; every host of this deployment needs the same",
        )
    vault = Vault(file)
    if not file.path.exists():
        if has_sealed():
            return vault
        file.make(new_key())
    _ = vault.key_count  # what is wrong with them is told here
    return vault


def key_file(settings: Settings) -> KeyFile | None:
    """Where the keys are kept; None where they come from the environment, or would have to."""
    if settings.vault_key is not None or not is_embedded(settings):
        return None
    return KeyFile(settings.home / KEY_FILE_NAME)


def _fernets(keys: Sequence[bytes]) -> tuple[Fernet, ...]:
    try:
        if not keys:
            raise ValueError("none")
        return tuple(Fernet(key) for key in keys)
    except ValueError:
        raise SettingsError(
            "the vault key is not a Fernet key (32 bytes in URL-safe base64)",
            code="vault_key_invalid",
            hint="`eurosky vault new-key` makes one; put it into EUROSKY_VAULT_KEY",
        ) from None
