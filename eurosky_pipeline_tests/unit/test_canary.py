"""The search for secrets finds them: a test that looks for nothing would pass as well."""

import gzip
import json
import sqlite3
import zlib
from base64 import b64encode, urlsafe_b64encode
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest

from eurosky_pipeline_tests.canary import spellings, traces, traces_in_server, traces_in_text
from eurosky_pipeline_tests.postgres import PostgresServer

SECRET = 'Canary "7é/+ \\x'
OTHER = "another-secret"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "did:plc:x:"])
@pytest.mark.parametrize("after", ["", "z", "zz", "}"])
def test_a_secret_is_found_in_base64_wherever_it_begins_and_ends(before: str, after: str) -> None:
    for encode in (b64encode, urlsafe_b64encode):
        text = encode(f"{before}{SECRET}{after}".encode()).decode()
        assert any("base64" in found for found in traces_in_text([SECRET], text))


@pytest.mark.parametrize(
    "data",
    [
        SECRET.encode(),
        SECRET.encode("utf-16"),
        json.dumps({"password": SECRET}).encode(),
        repr([SECRET]).encode(),
        f"https://x/?p={quote(SECRET, safe='')}".encode(),
        SECRET.encode().hex().encode(),
        zlib.compress(SECRET.encode()),
        gzip.compress(SECRET.encode()),
    ],
    ids=["utf-8", "utf-16", "json", "repr", "url", "hex", "zlib", "gzip"],
)
def test_a_secret_is_found_in_a_file_however_it_is_spelled(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "innocent").write_bytes(b"nothing")
    assert traces([SECRET, OTHER], tmp_path) == []
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "log").write_bytes(b"\0\xff" + data if data[:1] not in b"\x78\x1f" else data)
    found = traces([SECRET, OTHER], tmp_path)
    assert found
    assert all(line.startswith(str(tmp_path / "folder" / "log")) for line in found)
    assert traces([OTHER], tmp_path) == []


@pytest.mark.parametrize("value", [SECRET, zlib.compress(SECRET.encode())], ids=["plain", "compressed"])
def test_a_secret_is_found_in_a_database_and_in_what_is_not_in_its_main_file_yet(tmp_path: Path, value: object) -> None:
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (v BLOB)")
        database.execute("INSERT INTO t VALUES (?)", (value,))
        database.commit()
        assert any("table t" in line for line in traces([SECRET], tmp_path))


def test_a_secret_is_found_in_a_table_of_postgresql_in_its_files_and_in_the_log(
    postgres_server: PostgresServer, empty_postgres_url: str
) -> None:
    database = empty_postgres_url.rsplit("/", 1)[1]
    run = partial(postgres_server.execute, database)
    run("CREATE TABLE t (number integer, v bytea)")
    assert traces_in_server([SECRET, OTHER], postgres_server, database) == []
    run("INSERT INTO t VALUES (1, %s)", zlib.compress(SECRET.encode()))
    assert {line.split(":")[0] for line in traces_in_server([SECRET], postgres_server, database)} == {"table public.t"}
    run("CREATE TABLE gone (v text)")
    run("INSERT INTO gone VALUES (%s)", OTHER)
    run("DELETE FROM gone")
    places = {line.split("/")[0] for line in traces_in_server([OTHER], postgres_server, database)}
    assert places == {"base", "pg_wal"}
    with pytest.raises(psycopg2.Error):
        run("SELECT 1 / 0 AS x, %s", OTHER)
    assert any(line.startswith("log:") for line in traces_in_server([OTHER], postgres_server, database))


def test_a_secret_is_found_in_the_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / OTHER).touch()
    assert len(traces([OTHER], tmp_path)) >= 1


def test_no_spelling_is_so_short_that_it_is_found_by_chance() -> None:
    assert min(len(needle) for needle in spellings("12345678").values()) >= 8
