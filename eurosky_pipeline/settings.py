"""Settings: read from the environment (and `.env`) once, at the door, and typed from there on.

What belongs here: names, types, defaults and meanings of the variables that `.env.example` lists.
What does not: anything that acts on them.
"""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from eurosky_pipeline.errors import SettingsError

DEFAULT_PLC_URL = "https://plc.directory"
LEGACY_TRANSFORM = "legacy_blobs"
"""The record transform that has a switch of its own."""
MAX_RECORD_TRANSFORMS = 32


class Settings(BaseSettings):
    """Every setting of the pipeline; the environment variable is the field's alias. Frozen once read."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    home: Path = Field(
        default_factory=lambda: platformdirs.user_state_path("eurosky"),
        validation_alias="EUROSKY_HOME",
        description="Folder that holds everything the pipeline remembers",
    )
    dagster_home: Path | None = Field(
        default=None,
        validation_alias="DAGSTER_HOME",
        description="Dagster's instance folder (unset: `$EUROSKY_HOME/dagster`)",
    )
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="EUROSKY_DATABASE_URL",
        description="SQLAlchemy URL of the registry (unset: SQLite in `EUROSKY_HOME`)",
    )
    artifacts: Path | None = Field(
        default=None,
        validation_alias="EUROSKY_ARTIFACTS",
        description="Folder for CARs, manifests and reports (unset: `$EUROSKY_HOME/artifacts`)",
    )
    vault_key: SecretStr | None = Field(
        default=None,
        validation_alias="EUROSKY_VAULT_KEY",
        description="Keys for the credentials, comma-separated, newest first (unset: a 0600 file in `EUROSKY_HOME`)",
    )
    plc_url: str | None = Field(
        default=None,
        validation_alias="EUROSKY_PLC_URL",
        description=f"PLC directory (unset: {DEFAULT_PLC_URL}, or the sandbox's for the sandbox's hosts)",
    )
    is_private_hosts_allowed: bool = Field(
        default=False,
        validation_alias="EUROSKY_ALLOW_PRIVATE_HOSTS",
        description="Accept plain http and private addresses; never on a machine that takes other people's migrations",
    )
    is_legacy_conversion_enabled: bool = Field(
        default=False, validation_alias="CONVERT_LEGACY_BLOBS", description="Convert legacy blob references"
    )
    unknown_blob_size: Literal["keep", "sentinel", "fail"] = Field(
        default="keep",
        validation_alias="UNKNOWN_BLOB_SIZE",
        description="What becomes of a legacy reference to a blob whose size nobody tells",
    )
    record_transforms: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(LEGACY_TRANSFORM,),
        validation_alias="EUROSKY_RECORD_TRANSFORMS",
        description="Record transforms by name, comma-separated, in the order in which they run (docs/plugins.md)",
    )
    parallel_blobs: int = Field(
        default=5, ge=1, le=64, validation_alias="PARALLEL_BLOBS", description="Blob transfer threads per migration"
    )
    max_blob_retries: int = Field(
        default=3,
        ge=0,
        le=10,
        validation_alias="MAX_BLOB_RETRIES",
        description="How often a request for a blob is made again after the first try, each after a longer wait",
    )
    max_wait_s: float = Field(
        default=120,
        ge=0,
        le=86_400,
        validation_alias="EUROSKY_MAX_WAIT_S",
        description="Longest wait for a host's rate limit within a run, in seconds",
    )
    progress_update_interval: int = Field(
        default=10,
        ge=1,
        le=10_000,
        validation_alias="PROGRESS_UPDATE_INTERVAL",
        description="Blobs between two writes of the progress",
    )
    max_repo_bytes: int = Field(
        default=8 * 1024**3,
        ge=1,
        validation_alias="EUROSKY_MAX_REPO_BYTES",
        description="Largest repository that is accepted from a host, in bytes",
    )
    max_blob_bytes: int = Field(
        default=2 * 1024**3,
        ge=1,
        validation_alias="EUROSKY_MAX_BLOB_BYTES",
        description="Largest blob that is accepted from a host, in bytes",
    )

    @field_validator("home", "dagster_home", "artifacts")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        """Dagster refuses relative homes, and a run may start in another folder."""
        return None if value is None else _absolute_path(value)

    @field_validator("plc_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        """Found out here, the variable is named; found out in a run, a migration fails of it."""
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("is no URL like https://plc.directory")
        return value.rstrip("/")

    @field_validator("record_transforms", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Names in their order, the transform with its own switch among them: first, if it has no place of its own.

        Whether somebody offers them is found out when they are loaded; here only that they can be names.
        """
        names = tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value
        if not isinstance(names, tuple) or not all(re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) for name in names):
            raise ValueError("is no list of names, comma-separated, each of lower-case letters, digits and _")
        if LEGACY_TRANSFORM not in names:
            names = (LEGACY_TRANSFORM, *names)
        if len(set(names)) < len(names) or len(names) > MAX_RECORD_TRANSFORMS:
            raise ValueError(f"names a transform twice, or more than {MAX_RECORD_TRANSFORMS}")
        return names

    @field_validator("artifacts", mode="before")
    @classmethod
    def _local(cls, value: object) -> object:
        """As a path, a URL would quietly become a local folder of that name."""
        if "://" in str(value):
            raise ValueError("only a local folder is supported")
        return value

    @property
    def resolved_dagster_home(self) -> Path:
        return self.dagster_home or self.home / "dagster"

    @property
    def resolved_artifacts(self) -> Path:
        return self.artifacts or self.home / "artifacts"


def _absolute_path(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("begins with the home folder of a user who is not known here") from None


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a variable has a value that cannot be used; names the variable, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors(include_input=False))
        raise SettingsError(
            f"the environment holds a setting that cannot be used: {faults}",
            hint="correct it, or unset it to get the default; .env.example lists them all",
        ) from None
