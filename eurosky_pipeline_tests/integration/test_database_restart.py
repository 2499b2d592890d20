"""A whole migration on PostgreSQL, by the real command between real servers, whose database goes away in the middle."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
from cryptography.fernet import Fernet
from pydantic import SecretStr

from eurosky_pipeline.reconcile.verify import verify_accounts
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import seed
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.integration.command import eurosky
from eurosky_pipeline_tests.integration.relay_pds import Asked, Fault, relay_pds
from eurosky_pipeline_tests.pipeline import files_holding, register
from eurosky_pipeline_tests.postgres import PASSWORD, PostgresServer

UPLOAD_BLOB = "com.atproto.repo.uploadBlob"
RECORDS, BLOBS = 20, 12
AWAY_S = 5.0


def breaking_off_after(passed: int, server: PostgresServer, back: list[threading.Timer]) -> Fault:
    """With this upload the database's server is gone, and comes back after a while; all uploads pass."""
    count, lock = 0, threading.Lock()

    def fault(_: Asked) -> None:
        nonlocal count
        with lock:
            count += 1
            if count == passed:
                server.stop()
                back.append(threading.Timer(AWAY_S, server.start))
                back[0].start()

    return fault


def test_a_database_that_restarts_in_mid_transfer_costs_no_blob_and_no_state(
    sandbox, tmp_path: Path, empty_postgres_url: str, postgres_server: PostgresServer
) -> None:
    account = seed(sandbox.state, records=RECORDS, blobs=BLOBS, blob_bytes=9_000, report=print)
    variables = {
        "EUROSKY_DATABASE_URL": empty_postgres_url,
        "EUROSKY_VAULT_KEY": Fernet.generate_key().decode(),
        "EUROSKY_PLC_URL": account.plc_url,
        "EUROSKY_ALLOW_PRIVATE_HOSTS": "true",
        "PROGRESS_UPDATE_INTERVAL": "1",
    }
    registry = open_registry(Settings(_env_file=None, EUROSKY_HOME=tmp_path, **variables))
    back: list[threading.Timer] = []
    with relay_pds(account.destination_pds) as destination:
        token = register(registry, account, destination_pds=destination.url).token
        destination.faults[UPLOAD_BLOB] = breaking_off_after(4, postgres_server, back)
        done = eurosky("migrate", token, "--json", home=tmp_path, **variables)
    assert back, "the server was never away"
    back[0].join()

    assert done.exit_code == 0, done.stderr + postgres_server.log()
    assert registry.get(token).state is State.PENDING_PREFS
    outcomes = registry.outcomes(token)
    assert [len(outcomes), sum(outcome.is_there for outcome in outcomes)] == [BLOBS, BLOBS]
    (attempt,) = registry.attempts_of(token)
    assert (attempt.ended_in, attempt.error_code) == (State.PENDING_PREFS, None)
    registry.close()

    public = XrpcClient(httpx.Client(timeout=60), account.destination_pds)
    secret = SecretStr(account.destination_password)
    private = public.with_authorization(log_in(public, account.did, secret))
    found = verify_accounts(XrpcClient(httpx.Client(timeout=60), account.source_pds), private, account.did)
    assert (found.differences, found.blobs) == ((), BLOBS)

    name = empty_postgres_url.rpartition("/")[2]
    assert postgres_server.execute(name, "SELECT status FROM runs") == [("SUCCESS",)]
    assert files_holding(PASSWORD, tmp_path) == []
    assert PASSWORD not in done.stdout + done.stderr
