"""Looking for a secret in every byte below a folder, however it is spelled, databases and what they compress included.

`python -m eurosky_pipeline_tests.canary FOLDER`, the secrets as a JSON list on stdin: another process has to look,
since one that has a SQLite file open and closes it a second time loses its locks on it, and with them, sooner or later,
the file.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from eurosky_pipeline_tests.postgres import PostgresServer


def traces(secrets: Iterable[str], folder: Path) -> list[str]:
    """Where below `folder` one of the secrets stands, and how it is spelled there: a line each, without the secret."""
    looked = subprocess.run(
        [sys.executable, "-m", "eurosky_pipeline_tests.canary", str(folder)],
        input=json.dumps(sorted(set(secrets))),
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return looked.stdout.splitlines()


def traces_in_text(secrets: Iterable[str], text: str) -> list[str]:
    """How the secrets stand in a text, if they do."""
    return list(_found(list(_needles(secrets)), text.encode()))


def traces_in_server(secrets: Iterable[str], server: PostgresServer, database: str) -> list[str]:
    """Where they stand in a database of PostgreSQL: in every value of every table, in the files that it and the
    server's journal are in, and in the server's log. A file is looked through for what is written plainly: what is
    compressed or encoded in it is a table's value."""
    needles = list(_needles(secrets))
    found = [f"{where}: {name}" for where, value in _rows_of(server, database) for name in _found(needles, value)]
    found += [f"log: {name}" for name in _found(needles, server.log().encode())]
    plain = [(name, needle) for name, needle in needles if name.endswith((" utf-8", " json"))]
    server.execute(database, "CHECKPOINT")
    ((data, number),) = server.execute(
        database, "SELECT current_setting('data_directory'), oid FROM pg_database WHERE datname = current_database()"
    )
    for folder in (Path(data) / "base" / str(number), Path(data) / "pg_wal"):
        for path in (path for path in folder.rglob("*") if path.is_file()):
            found += [f"{path.relative_to(data)}: {name}" for name in _found(plain, path.read_bytes())]
    return list(dict.fromkeys(found))


def _rows_of(server: PostgresServer, database: str) -> Iterator[tuple[str, bytes]]:
    """Every value of every table, unpacked; a table's at once, between bytes that no secret has."""
    tables = server.execute(
        database,
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables "
        "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    assert tables
    for (table,) in tables:
        rows = server.execute(database, f"SELECT * FROM {table}")
        yield f"table {table}", b"\0\xff\0".join(_unpacked(value) for row in rows for value in row)


def spellings(secret: str) -> dict[str, bytes]:
    """The secret as files may hold it: as it is, escaped, in a URL, in hex, in base64 at each of its three phases."""
    data = secret.encode()
    found = {
        "utf-8": data,
        "utf-16": secret.encode("utf-16-le"),
        "json": json.dumps(secret)[1:-1].encode(),
        "repr": repr(secret)[1:-1].encode(),
        "url": quote(secret, safe="").encode(),
        "path": quote(secret).encode(),
        "form": quote_plus(secret).encode(),
        "hex": data.hex().encode(),
        "HEX": data.hex().upper().encode(),
    }
    for phase in range(3):  # of the three bytes that four characters stand for
        whole = b64encode(bytes(phase) + data)
        first, end = (phase * 8 + 5) // 6, (phase + len(data)) * 8 // 6  # what the bytes around it have no part in
        found[f"base64+{phase}"] = whole[first:end]
        found[f"base64url+{phase}"] = whole[first:end].translate(bytes.maketrans(b"+/", b"-_"))
    return found


def _needles(secrets: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for number, secret in enumerate(secrets):
        for name, needle in spellings(secret).items():
            yield f"secret {number} as {name}", needle


def _found(needles: list[tuple[str, bytes]], data: bytes) -> Iterator[str]:
    return (name for name, needle in needles if needle in data)


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """A file's name, its bytes, and, of a SQLite database, every value unpacked."""
    yield "name", path.name.encode()
    data = path.read_bytes()
    yield "bytes", data
    if data.startswith(b"SQLite format 3\0"):
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    yield from ((f"table {table}", _unpacked(value)) for value in row)
    else:
        yield "unpacked", _unpacked(data)


def _unpacked(value: object) -> bytes:
    data = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
    with suppress(zlib.error):
        data = zlib.decompress(data, wbits=47)  # zlib and gzip
    return data


def _look(folder: Path, secrets: list[str]) -> Iterator[str]:
    needles = list(_needles(secrets))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found = dict.fromkeys(
                f"{name} ({part})" for part, data in _contents(path) for name in _found(needles, data)
            )
            yield from (f"{path}: {what}" for what in found)


if __name__ == "__main__":
    for line in _look(Path(sys.argv[1]), json.load(sys.stdin)):
        print(line)
