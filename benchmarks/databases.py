"""The two databases that a benchmark's commands work on, each with a home of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.fernet import Fernet

from eurosky_pipeline_tests.postgres import running_postgres

OURS = ("EUROSKY", "DAGSTER")


def each_database(folder: Path) -> Iterator[str]:
    """`SQLite`, then `PostgreSQL`: while each is worked on, the environment leads to an empty one of it, and to no
    other setting of ours."""
    with _environment(EUROSKY_HOME=str(folder / "sqlite")):
        yield "SQLite"
    with running_postgres() as server:
        url, key = server.url(server.create()), Fernet.generate_key().decode()
        home = str(folder / "postgresql")
        with _environment(EUROSKY_HOME=home, EUROSKY_DATABASE_URL=url, EUROSKY_VAULT_KEY=key):
            yield "PostgreSQL"


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(OURS)]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
