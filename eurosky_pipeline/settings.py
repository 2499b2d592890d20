"""Settings: read from the environment (and `.env`) once, at the door, and typed from there on.

What belongs here: names, types, defaults and meanings of the variables that `.env.example` lists.
What does not: anything that acts on them.
"""

import json
import re
from dataclasses import dataclass
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
_BYPASS_KEY = re.compile(r"[\x21-\x7e]{1,1024}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"(?=.{1,512}$)[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*", re.ASCII)
_BASE_URL = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class S3Location:
    """A folder in a bucket of S3, or of what speaks like it.

    Endpoint and keys are not in here: they come from the usual `AWS_…` variables, or the files that those name.
    """

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


class Settings(BaseSettings):
    """Every setting of the pipeline; the environment variable is the field's alias. Frozen once read."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

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
        description="PostgreSQL of the registry and of Dagster, `postgresql://…` (unset: SQLite in `EUROSKY_HOME`)",
    )
    artifacts: Annotated[Path | S3Location | None, NoDecode] = Field(
        default=None,
        validation_alias="EUROSKY_ARTIFACTS",
        description="Folder or `s3://bucket/prefix` for CARs, manifests and reports (unset: `$EUROSKY_HOME/artifacts`)",
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
    rate_limit_bypass: SecretStr | None = Field(
        default=None,
        validation_alias="EUROSKY_RATE_LIMIT_BYPASS",
        description="Keys that lift hosts' rate limits, `host=key`, comma-separated, or a JSON object (unset: none)",
    )
    max_bytes_per_s: int | None = Field(
        default=None,
        ge=1024,
        validation_alias="EUROSKY_MAX_BYTES_PER_S",
        description="Most bytes a second that a run moves, down and up together (unset: as many as go)",
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
    intake_folder: Path | None = Field(
        default=None,
        validation_alias="EUROSKY_INTAKE_FOLDER",
        description="Folder in which lists of accounts are looked for, to be registered (unset: none)",
    )
    intake_sources: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("registered", "watched_folder"),
        validation_alias="EUROSKY_INTAKE_SOURCES",
        description="Where the sensor new_migrations looks for migrations, comma-separated (docs/plugins.md)",
    )
    event_sinks: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("log", "webhook"),
        validation_alias="EUROSKY_EVENT_SINKS",
        description="Who is told of changes of state and ends of runs, comma-separated (docs/plugins.md)",
    )
    webhook_url: SecretStr | None = Field(
        default=None,
        validation_alias="EUROSKY_WEBHOOK_URL",
        description="Where the sink `webhook` posts events to (unset: nowhere)",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias="EUROSKY_WEBHOOK_SECRET",
        description="Key of the signature that each of its requests carries",
    )
    sensors_off: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        validation_alias="EUROSKY_SENSORS_OFF",
        description="Sensors and schedules that are off until somebody switches them on, comma-separated (unset: none)",
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        validation_alias="EUROSKY_RETENTION_DAYS",
        description="Days after which a schedule purges what a finished migration has left (unset: it stays)",
    )

    @field_validator("home", "dagster_home", "intake_folder")
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

    @field_validator("rate_limit_bypass")
    @classmethod
    def _bypass_keys(cls, value: SecretStr | None) -> SecretStr | None:
        """Read here only to tell of a fault early, and without a word of what stands there."""
        if value is not None:
            _keys_by_host(value.get_secret_value())
        return value

    @field_validator("intake_sources", "event_sinks", "sensors_off", mode="before")
    @classmethod
    def _list_of_names(cls, value: object) -> object:
        """Names, each once; `none` alone, since an empty variable counts as unset, for none."""
        names = _names_in(value)
        if len(set(names)) < len(names):
            raise ValueError("holds a name twice")
        return () if names == ("none",) else names

    @field_validator("record_transforms", mode="before")
    @classmethod
    def _transforms(cls, value: object) -> object:
        """Names in their order, the transform with its own switch among them: first, if it has no place of its own.

        Whether somebody offers them is found out when they are loaded; here only that they can be names.
        """
        names = _names_in(value)
        if LEGACY_TRANSFORM not in names:
            names = (LEGACY_TRANSFORM, *names)
        if len(set(names)) < len(names) or len(names) > MAX_RECORD_TRANSFORMS:
            raise ValueError(f"names a transform twice, or more than {MAX_RECORD_TRANSFORMS}")
        return names

    @field_validator("artifacts", mode="before")
    @classmethod
    def _location(cls, value: object) -> object:
        """As a path, a URL would quietly become a local folder of that name."""
        return artifacts_location(value) if isinstance(value, str) else value

    @property
    def resolved_dagster_home(self) -> Path:
        return self.dagster_home or self.home / "dagster"

    @property
    def resolved_artifacts(self) -> Path | S3Location:
        return self.artifacts or self.home / "artifacts"

    def bypass_key(self, base_url: str) -> SecretStr | None:
        """The key that lifts the rate limits of exactly this host, `scheme://host[:port]`; None if there is none."""
        if self.rate_limit_bypass is None:
            return None
        key = _keys_by_host(self.rate_limit_bypass.get_secret_value()).get(_host_and_port(base_url))
        return None if key is None else SecretStr(key)


def _names_in(value: object) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value
    if not isinstance(names, tuple) or not all(re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) for name in names):
        raise ValueError("is no list of names, comma-separated, each of lower-case letters, digits and _")
    return names


def _keys_by_host(text: str) -> dict[tuple[str, int], str]:
    """`{"host": "key"}`, or `host=key,host:port=key`. Raises ValueError, whose text repeats nothing."""
    if text.lstrip().startswith("{"):
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError):
            raise ValueError("is no JSON object of hosts and keys") from None
    else:
        pairs = [pair.strip().partition("=")[::2] for pair in text.split(",")]
    keys: dict[tuple[str, int], str] = {}
    for host, key in pairs:
        if not isinstance(key, str) or not _BYPASS_KEY.fullmatch(key):
            raise ValueError("holds something that is no host=key, with a key of printable ASCII without spaces")
        address = _host_and_port(host if "://" in host else f"https://{host}")
        if keys.setdefault(address, key) != key:
            raise ValueError("holds two keys for one host")
    return keys


def _host_and_port(url: str) -> tuple[str, int]:
    """What is connected to, in one spelling. Raises ValueError, whose text repeats nothing."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        host, port = "", None
    if not host or not _BASE_URL.fullmatch(url):
        raise ValueError("holds something that is no host like pds.example.com or localhost:2583")
    return host, port or (80 if url.startswith("http://") else 443)


def artifacts_location(text: str) -> Path | S3Location:
    """What `EUROSKY_ARTIFACTS` names. Raises ValueError, which repeats no more of it than a scheme."""
    scheme, is_url, rest = text.partition("://")
    if not is_url and not re.match(r"s3[an]?:", text):
        return _absolute_path(Path(text))
    if not is_url or scheme != "s3":
        told = f", and not {scheme}://" if re.fullmatch(r"[a-z][a-z0-9+-]{1,11}", scheme) else ""
        raise ValueError(f"takes a local folder or s3://bucket/prefix{told}")
    bucket, _, prefix = rest.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("names no bucket: it is s3://bucket/prefix, with keys and endpoint in AWS_… variables only")
    if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise ValueError("has a prefix with other characters than letters, digits, . _ = - and single slashes")
    return S3Location(bucket, prefix)


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
        faults = "; ".join(
            f"{'.'.join(map(str, f['loc']))}: {f['msg'].removeprefix('Value error, ')}"
            for f in error.errors(include_input=False)
        )
        raise SettingsError(
            f"the environment holds a setting that cannot be used: {faults}",
            hint="correct it, or unset it to get the default; .env.example lists them all",
        ) from None
