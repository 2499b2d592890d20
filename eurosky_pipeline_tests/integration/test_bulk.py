"""Many migrations, from the list to the reports, without a hand, on both databases: see `bulk`."""

from __future__ import annotations

from pathlib import Path

import pytest

from eurosky_pipeline_tests.bulk import Bulk, run_bulk
from eurosky_pipeline_tests.postgres import PostgresServer

MIGRATIONS = 12
"""`python -m benchmarks.bulk_run` moves 50."""


@pytest.mark.timeout(900)
def test_many_migrations_arrive_though_a_worker_is_killed_and_up_begun_anew_on_sqlite(sandbox, tmp_path: Path) -> None:
    run_bulk(Bulk(tmp_path, sandbox.state, MIGRATIONS), print)


@pytest.mark.timeout(900)
def test_many_migrations_arrive_though_a_worker_is_killed_and_the_database_restarts(
    sandbox, tmp_path: Path, postgres_server: PostgresServer, empty_postgres_url: str
) -> None:
    database = empty_postgres_url.rpartition("/")[2]
    run_bulk(Bulk(tmp_path, sandbox.state, MIGRATIONS, postgres_server, database), print)
