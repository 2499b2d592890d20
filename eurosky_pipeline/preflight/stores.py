"""The registry's database and the key to its passwords, read and never written: nothing is made that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, NullPool, create_engine, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health
from eurosky_pipeline.registry.database import SCHEMA_HEAD, VERSION_TABLE, server_url
from eurosky_pipeline.registry.pause import read_pause
from eurosky_pipeline.registry.states import INACTIVE, State
from eurosky_pipeline.registry.tables import credentials, migrations
from eurosky_pipeline.registry.vault import Side, Vault, key_file
from eurosky_pipeline.settings import Settings

_PASSWORDS_TRIED = 20
_HOSTS_READ = 1000
_WAL_VERSION_BYTE = 18
"""Of a SQLite file's head: 2 where it is written through a write-ahead log (sqlite.org/fileformat.html, 1.3.3)."""
_URL_HINT = "check EUROSKY_DATABASE_URL, and that the server runs and lets this user in"
_KEY_HINT = "bring the key back that they were sealed with; or give the passwords anew (`eurosky migrations retry`)"


@dataclass(slots=True)
class Stored:
    """What the registry holds, for the looks after it. `passwords` are (token, side, ciphertext), the newest first;
    `hosts` of active migrations. None until it was read."""

    passwords: list[tuple[str, Side, bytes]] | None = None
    hosts: list[str] | None = None


def look_at_database(settings: Settings, stored: Stored) -> list[Diagnosis]:
    """Whether it can be reached, and its schema is this program's. Fills `stored`."""
    url, path = server_url(settings), _sqlite_path(settings)
    kind = "PostgreSQL" if url is not None else f"SQLite {path}"
    if url is None and not path.exists():
        stored.passwords, stored.hosts = [], []
        return [Diagnosis("database", Health.OK, f"{kind}: not there yet, the first command makes it")]
    try:
        with reading(settings) as connection:
            found = schema_of(connection)
            rows = [_of_schema(found, kind)]
            if url is None:
                rows += _of_file(path)
            if found == SCHEMA_HEAD:
                _read(connection, stored)
                rows += _of_pause(connection)
            elif found is None:
                stored.passwords, stored.hosts = [], []
    except DatabaseError as error:
        hint = _URL_HINT if url is not None else "is it a copy that was not finished? Restore it from a backup"
        return [Diagnosis("database", Health.BAD, f"{kind} cannot be read: {_said(error)}", hint)]
    return rows


def look_at_key(settings: Settings, stored: Stored) -> list[Diagnosis]:
    """Whether there is a key, nobody else can read it, and it opens what is stored."""
    file = key_file(settings)
    if file is not None and not file.path.exists():
        if stored.passwords:
            return [Diagnosis("key", Health.BAD, f"{file.path} is gone, and passwords were sealed with it", _KEY_HINT)]
        return [Diagnosis("key", Health.OK, f"{file.path}: not there yet, the first command makes it")]
    if file is None and settings.vault_key is None:
        hint = "`eurosky vault new-key` makes one; put it into EUROSKY_VAULT_KEY on every host of this deployment"
        return [Diagnosis("key", Health.BAD, "EUROSKY_VAULT_KEY is not set, and a database server needs it", hint)]
    given = settings.vault_key.get_secret_value().split(",") if settings.vault_key is not None else []
    vault = Vault(file if file is not None else [part.strip().encode() for part in given if part.strip()])
    where = f"{vault.key_count} in {'EUROSKY_VAULT_KEY' if file is None else file.path}"
    if stored.passwords is None:
        return [Diagnosis("key", Health.WARN, f"{where}; the passwords could not be read", "see to the database")]
    unreadable = [
        f"{token} ({side})" for token, side, sealed in stored.passwords if not _opens(vault, token, side, sealed)
    ]
    if unreadable:
        shown = f"{where}; not opened by it: {', '.join(unreadable[:5])}{' …' if len(unreadable) > 5 else ''}"
        return [Diagnosis("key", Health.BAD, shown, _KEY_HINT)]
    opened = f"opens the {len(stored.passwords)} newest passwords" if stored.passwords else "no password is stored"
    return [Diagnosis("key", Health.OK, f"{where}; {opened}")]


def _opens(vault: Vault, token: str, side: Side, sealed: bytes) -> bool:
    try:
        vault.open(token, side, sealed)
    except EuroskyError:
        return False
    return True


def _sqlite_path(settings: Settings) -> Path:
    url = settings.database_url
    if url is None:
        return settings.home / "registry.sqlite"
    return Path(make_url(url.get_secret_value()).database or "")


def is_there(settings: Settings) -> bool:
    """Whether there is a registry to be read: a server may have one, a file is there or not."""
    return server_url(settings) is not None or _sqlite_path(settings).exists()


@contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """A connection that cannot write. SQLite makes files beside a database that it reads: unless another process has
    made them, it is told that nobody writes."""
    url = server_url(settings)
    if url is None:
        path = _sqlite_path(settings)
        is_in_use = Path(f"{path}-wal").exists() and Path(f"{path}-shm").exists()
        query = {"uri": "true", "mode": "ro", **({} if is_in_use else {"immutable": "1"})}
        url = make_url("sqlite://").set(database=f"file:{quote(str(path.absolute()))}", query=query)
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET TRANSACTION READ ONLY"))
            yield connection
    finally:
        engine.dispose()


def schema_of(connection: Connection) -> str | None:
    """The schema's revision; None of a database that has none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar())  # noqa: S608  ours


def _of_schema(found: str | None, kind: str) -> Diagnosis:
    if found == SCHEMA_HEAD:
        return Diagnosis("database", Health.OK, f"{kind}, schema {found}")
    if found is None:
        return Diagnosis("database", Health.OK, f"{kind}: empty, the first command makes the tables")
    if found.isdigit() and int(found) < int(SCHEMA_HEAD):
        hint = "the next command brings it up to date; back it up before, and stop what runs with the older program"
        return Diagnosis("database", Health.WARN, f"{kind}, schema {found}; this program's is {SCHEMA_HEAD}", hint)
    hint = "a newer eurosky has been here: install that version, or restore the backup from before"
    return Diagnosis("database", Health.BAD, f"{kind}, schema {found[:40]!r}; this program's is {SCHEMA_HEAD}", hint)


def _of_file(path: Path) -> list[Diagnosis]:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return [Diagnosis("database", Health.WARN, f"{path} can be read by others ({mode:o})", f"chmod 600 {path}")]
    with path.open("rb") as file:
        head = file.read(_WAL_VERSION_BYTE + 1)
    if head[_WAL_VERSION_BYTE:] != b"\x02":
        hint = "see whether its disk can hold SQLite's write-ahead log; a network file system cannot"
        return [Diagnosis("database", Health.WARN, f"{path} has no write-ahead log, and so readers wait", hint)]
    return []


def _of_pause(connection: Connection) -> list[Diagnosis]:
    pause = read_pause(connection)
    hint = "`eurosky resume` ends it; until then nothing new starts"
    return [] if pause is None else [Diagnosis("paused", Health.WARN, str(pause), hint)]


def _read(connection: Connection, stored: Stored) -> None:
    columns = credentials.c
    sealed = connection.execute(
        select(columns.token, columns.side, columns.ciphertext)
        .where(columns.expires_at > datetime.now(UTC))
        .order_by(columns.expires_at.desc())
        .limit(_PASSWORDS_TRIED)
    )
    stored.passwords = [(row.token, Side(row.side), bytes(row.ciphertext)) for row in sealed]
    active = migrations.c.state.in_([state for state in State if state not in INACTIVE])
    pairs = select(migrations.c.source_pds, migrations.c.destination_pds).where(active).distinct().limit(_HOSTS_READ)
    stored.hosts = sorted({str(host) for pair in connection.execute(pairs) for host in pair})


def _said(error: DatabaseError) -> str:
    return " ".join(str(error.orig).split())[:300]
