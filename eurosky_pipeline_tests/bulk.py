"""Many migrations at once, from a list to their reports without a hand, with what can go wrong going wrong on the way.

The real command, its daemon and webserver, two real PDSes; a run's worker is killed in mid-work, and the database's
server, or `eurosky up` itself where there is none, is away for a while. Afterwards nobody is believed: what arrived is
read from both servers. A test runs this with some accounts, `python -m benchmarks.bulk_run` with more.
"""

from __future__ import annotations

import csv
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from cryptography.fernet import Fernet
from pydantic import SecretStr

from eurosky_pipeline.orchestration.workers import worker_of
from eurosky_pipeline.reconcile.verify import verify_accounts
from eurosky_pipeline.registry.attempts import RUN_LOST
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.sandbox.state import SandboxState
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import list_missing_blobs
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.canary import traces, traces_in_server
from eurosky_pipeline_tests.integration.command import eurosky
from eurosky_pipeline_tests.integration.dagster_server import ENDED, JOB, DagsterServer, RunSeen, running_up, wait_until
from eurosky_pipeline_tests.postgres import PostgresServer

RECORDS, BLOBS, BLOB_BYTES = 10, 2, 3_000
"""Of one account. A third blob would be one of 5 MB, as the seeding goes."""
AWAY_S = 5.0
REPORT = "reconciliation_report"
_SEEDING_THREADS = _VERIFYING_THREADS = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """What it took. Seconds of the clock, and of all processors together for `eurosky up` and all that it started.

    Attributes:
        wall_s: from the start of `eurosky up` until the last migration had arrived.
        retaken_s: from the killing of a worker until another run had taken its migration up.
        attempts: of all migrations together.
    """

    database: str
    migrations: int
    seeding_s: float
    import_s: float
    wall_s: float
    cpu_s: float
    retaken_s: float
    runs: int
    attempts: int


@dataclass
class Bulk:
    """Accounts to move, the home of who moves them, and where its database is: None for SQLite."""

    home: Path
    state: SandboxState
    count: int
    postgres: PostgresServer | None = None
    database: str = ""
    key: str = field(default_factory=lambda: Fernet.generate_key().decode())
    secrets: list[str] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, Any]:
        """The settings of the installation; on SQLite it makes a key of its own."""
        server = {"EUROSKY_DATABASE_URL": self.postgres.url(self.database)} if self.postgres else {}
        key = {"EUROSKY_VAULT_KEY": self.key} if self.postgres else {}
        return {
            "EUROSKY_ALLOW_PRIVATE_HOSTS": "true",
            "EUROSKY_PLC_URL": self.state.plc_url,
            "EUROSKY_SENSORS_OFF": "none",
            **server,
            **key,
        }

    def open_registry(self) -> Registry:
        return open_registry(Settings(_env_file=None, EUROSKY_HOME=self.home, **self.variables), patience_s=60)


def run_bulk(bulk: Bulk, report: Callable[[str], None], *, timeout_s: float = 600) -> Figures:
    """All of it, checked; AssertionError where anything is not as it has to be."""
    began_s = time.monotonic()
    accounts = seed_accounts(bulk.state, bulk.count)
    seeding_s = time.monotonic() - began_s
    report(f"{bulk.count} accounts seeded in {seeding_s:.0f} s")
    import_s = _hand_in(bulk, accounts)
    registry = bulk.open_registry()
    tokens = [migration.token for migration in registry.each()]
    assert len(tokens) == bulk.count
    began_s, cpu_s = time.monotonic(), 0.0
    with running_up(bulk.home, log_name="first.log", **bulk.variables) as server:
        killed = _kill_a_worker(server, registry, tokens, report)
        wait_until(lambda: _is_in_the_midst(registry, tokens), timeout_s, 0.1)
        if bulk.postgres is not None:
            bulk.postgres.restart(away_s=AWAY_S)
            report(f"the database was away for {AWAY_S:.0f} s")
            cpu_s, runs = _wait_to_the_end(server, registry, tokens, report, timeout_s)
        else:
            resting = [token for token in tokens if _is_at_rest(registry, token)][:2]
            backfill = server.backfill(resting, [REPORT])
            cpu_s = _cpu_s(server)
    if bulk.postgres is None:
        report("`eurosky up` is ended in the midst of runs and of a backfill, and begun again")
        with running_up(bulk.home, log_name="second.log", **bulk.variables) as server:
            more_s, runs = _wait_to_the_end(server, registry, tokens, report, timeout_s)
            cpu_s += more_s
            wait_until(lambda: server.backfill_status(backfill) == "COMPLETED_SUCCESS", 120)
            again = server.runs(dagster__backfill=backfill)
            assert sorted(run.token for run in again) == sorted(resting)
            assert [run.steps for run in again] == [{REPORT: "SUCCESS"}] * len(resting)
    wall_s = max(_ended_s(runs), 0.0) - (time.time() - (time.monotonic() - began_s))
    figures = Figures(
        "PostgreSQL" if bulk.postgres else "SQLite",
        bulk.count,
        round(seeding_s, 1),
        round(import_s, 1),
        round(wall_s, 1),
        round(cpu_s, 1),
        round(_retaken_s(registry, killed), 1),
        len(runs),
        sum(registry.get(token).attempts for token in tokens),
    )
    report(str(figures))
    _check_books(bulk, registry, tokens, runs, killed)
    _check_servers(accounts)
    _check_leftovers(bulk, tokens)
    registry.close()
    return figures


def seed_accounts(state: SandboxState, count: int) -> list[SeededAccount]:
    def one(number: int) -> SeededAccount:
        return seed(
            state,
            records=RECORDS,
            blobs=BLOBS,
            blob_bytes=BLOB_BYTES,
            report=lambda _: None,
            seed_name=f"bulk {number}",
        )

    with ThreadPoolExecutor(_SEEDING_THREADS) as threads:
        return list(threads.map(one, range(count)))


def _hand_in(bulk: Bulk, accounts: Sequence[SeededAccount]) -> float:
    """As an operator does it: a list in CSV, which is gone afterwards. Seconds that the import took."""
    listed = bulk.home / "accounts.csv"
    with listed.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["did", "handle", "source_pds", "destination_pds", "destination_password"])
        for account in accounts:
            rows.writerow(
                [account.did, account.handle, account.source_pds, account.destination_pds, account.destination_password]
            )
    began_s = time.monotonic()
    imported = eurosky("migrations", "import", str(listed), "--json", home=bulk.home, **bulk.variables)
    took_s = time.monotonic() - began_s
    assert imported.exit_code == 0, imported.stderr
    assert (imported.json["added"], imported.json["rejected"]) == (bulk.count, []), imported.stdout
    listed.unlink()
    bulk.secrets += [account.destination_password for account in accounts]
    return took_s


@dataclass
class _Killed:
    """The last of those whose process was ended in mid-work, and the runs of all that were struck."""

    token: str = ""
    run_id: str = ""
    at_s: float = 0.0
    struck: set[str] = field(default_factory=set)


def _kill_a_worker(
    server: DagsterServer, registry: Registry, tokens: Sequence[str], report: Callable[[str], None]
) -> _Killed:
    """End, without a word, the process of a run that has begun its work and has not come to its end."""
    killed, deadline_s = _Killed(), time.monotonic() + 180
    while time.monotonic() < deadline_s:
        for seen in _at_work(registry, tokens):
            run_id = seen.lease_holder or ""
            worker = worker_of(server.run(run_id).tags)
            if worker is None or [each.lease_holder for each in _at_work(registry, [seen.token])] != [run_id]:
                continue  # it has come to its end meanwhile
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
                killed.struck.add(run_id)
            found = registry.get(seen.token)
            if found.state is not State.PENDING_PREFS and registry.attempts_of(seen.token)[-1].ended_at is None:
                killed.token, killed.run_id, killed.at_s = seen.token, run_id, time.time()
                report(f"the worker of {seen.token} is killed in {found.state}")
                return killed
        time.sleep(0.1)
    raise AssertionError("no run could be killed in mid-work")


def _at_work(registry: Registry, tokens: Sequence[str]) -> list[Migration]:
    found = [registry.get(token) for token in tokens]
    return [each for each in found if each.lease_expires_at is not None and each.state is not State.PENDING_PREFS]


def _is_in_the_midst(registry: Registry, tokens: Sequence[str]) -> bool:
    """A third have arrived, and others are at work."""
    resting = sum(_is_at_rest(registry, token) for token in tokens)
    return resting >= len(tokens) // 3 and bool(_at_work(registry, tokens))


def _is_at_rest(registry: Registry, token: str) -> bool:
    migration = registry.get(token)
    return migration.state is State.PENDING_PREFS and migration.lease_expires_at is None


def _arrived(registry: Registry, tokens: Sequence[str]) -> int:
    return sum(registry.get(token).state is State.PENDING_PREFS for token in tokens)


def _wait_to_the_end(
    server: DagsterServer, registry: Registry, tokens: Sequence[str], report: Callable[[str], None], timeout_s: float
) -> tuple[float, list[RunSeen]]:
    """Until every migration has arrived and no run is under way: the seconds of processors, and all runs."""

    def is_done() -> bool:
        return _arrived(registry, tokens) == len(tokens)

    try:
        wait_until(is_done, timeout_s)
    except AssertionError:
        states = Counter(str(registry.get(token).state) for token in tokens)
        raise AssertionError(f"{states} after {timeout_s} s; {server.log.read_text()[-3000:]}") from None
    cpu_s = _cpu_s(server)
    wait_until(lambda: all(run.status in ENDED for run in server.runs()), 120)
    report(f"all {len(tokens)} have arrived")
    return cpu_s, server.runs()


def _cpu_s(server: DagsterServer) -> float:
    """Of all that `up` has started, ended processes included as far as somebody has waited for them."""
    total_s = 0.0
    for process in server.processes():
        with suppress(psutil.Error):
            total_s += sum(process.cpu_times()[:4])
    return total_s


def _ended_s(runs: Sequence[RunSeen]) -> float:
    return max(run.ended_s or 0.0 for run in runs)


def _retaken_s(registry: Registry, killed: _Killed) -> float:
    _, again, *_ = registry.attempts_of(killed.token)
    return again.started_at.timestamp() - killed.at_s


def _check_books(
    bulk: Bulk, registry: Registry, tokens: Sequence[str], runs: Sequence[RunSeen], killed: _Killed
) -> None:
    """What the registry and Dagster say: each migration arrived, each blob with one outcome, each run accounted for."""
    for token in tokens:
        migration, attempts = registry.get(token), registry.attempts_of(token)
        assert migration.state is State.PENDING_PREFS, token
        assert migration.progress_data["reconciliation_status"] == "complete", token
        outcomes = registry.outcomes(token)
        assert len(outcomes) == len({outcome.blob_cid for outcome in outcomes}) == BLOBS, token
        assert all(outcome.is_there for outcome in outcomes), token
        # `eurosky up` may be ended between a run's last word and its end, and does not wait for it for ever
        ends = {None} if bulk.postgres is not None else {None, "stopped", RUN_LOST}
        assert attempts[-1].error_code in ends, (token, attempts)
        assert attempts[-1].ended_in is (State.PENDING_PREFS if attempts[-1].error_code != RUN_LOST else None), token
        assert all(attempt.ended_at is not None for attempt in attempts), token
        lost = [attempt.holder for attempt in attempts if attempt.error_code == RUN_LOST]
        assert bulk.postgres is None or killed.struck.issuperset(lost), (token, attempts)
        assert token != killed.token or killed.run_id in lost, attempts
    moving = [run for run in runs if run.job == JOB]
    by_id = {run.run_id: run for run in moving}
    assert by_id[killed.run_id].status == "FAILURE"
    holders = [attempt.holder for token in tokens for attempt in registry.attempts_of(token)]
    assert len(holders) == len(set(holders))
    in_vain = by_id.keys() - set(holders)  # those that a stop of the service met before their first step
    assert bulk.postgres is None or not in_vain, [by_id[run_id] for run_id in in_vain]
    succeeded = Counter(run.token for run in moving if run.status == "SUCCESS")
    struck = {by_id[run_id].token for run_id in killed.struck - {killed.run_id}}  # after its last word
    assert set(succeeded.values()) == {1}, succeeded
    if bulk.postgres is not None:  # a database that was away for seconds has cost nobody an attempt
        assert set(tokens) - struck <= succeeded.keys() <= set(tokens), succeeded
        assert len(holders) == bulk.count + 1, killed
    assert {run.tags["eurosky/lane"] for run in moving} == {"bulk"}


def _check_servers(accounts: Sequence[SeededAccount]) -> None:
    """What both servers give out."""
    limits = httpx.Limits(max_connections=40)
    with httpx.Client(timeout=60, limits=limits) as http, ThreadPoolExecutor(_VERIFYING_THREADS) as threads:
        list(threads.map(partial(_check_account, http), accounts))


def _check_account(http: httpx.Client, account: SeededAccount) -> None:
    destination = XrpcClient(http, account.destination_pds)
    private = destination.with_authorization(log_in(destination, account.did, SecretStr(account.destination_password)))
    found = verify_accounts(XrpcClient(http, account.source_pds), private, account.did, workers=2)
    assert (found.differences, found.records, found.blobs) == ((), RECORDS, BLOBS), account.did
    assert list(list_missing_blobs(private)) == [], account.did


def _check_leftovers(bulk: Bulk, tokens: Sequence[str]) -> None:
    for token in tokens:
        folder = bulk.home / "work" / token
        assert not (folder / "blobs").exists(), token
        assert list(folder.rglob("*.partial")) == [], token
    assert traces(bulk.secrets, bulk.home) == []
    if bulk.postgres is not None:
        assert traces_in_server(bulk.secrets, bulk.postgres, bulk.database) == []
