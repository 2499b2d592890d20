"""One cell of the matrix: an account of its own, two proxies, the whole job, and an independent look at the end."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from eurosky_pipeline.reconcile.verify import Verification, verify_accounts
from eurosky_pipeline.registry.ledger import Outcome
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.sandbox.state import SandboxState, load_state
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import list_blobs
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.faults.proxy import FaultProxy, fault_proxy
from eurosky_pipeline_tests.faults.rules import Rule
from eurosky_pipeline_tests.pipeline import register, run_job

BLOBS = 12
BLOB_BYTES = 20_000
_BLOB = re.compile(r"blob (\S+?):? ")
_VERIFY_TRIES = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """An account between two proxies, registered in a home of its own.

    Attributes:
        home: `EUROSKY_HOME`; `settings` are the other variables that its commands need.
        planned: every blob of the account, as its source lists them.
    """

    home: Path
    settings: Mapping[str, str]
    account: SeededAccount
    source: FaultProxy
    destination: FaultProxy
    registry: Registry
    token: str
    planned: frozenset[str]

    @property
    def migration(self) -> Migration:
        return self.registry.get(self.token)

    def stored(self) -> Counter[str]:
        """How often the destination took each blob."""
        return self.destination.record.stored()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is true at the end, of all the blobs that were planned.

    Attributes:
        arrived: at the destination with the right bytes, by a look at both servers.
        named: how many of the others the ledger names with which outcome.
        lost: neither there nor named. A blob that the ledger takes for arrived, and that is not there, is lost.
        counted_twice: by how much the progress exceeds what is true, in blobs.
        miscounts: figures of the progress that are not the ledger's sums, in words.
        sent_again: uploads that the server took of a blob that it had taken before.
        needless: those of them of which the pipeline had been told that the blob is there.
    """

    planned: int
    arrived: int
    named: Mapping[str, int]
    lost: tuple[str, ...]
    counted_twice: int
    miscounts: tuple[str, ...]
    sent_again: int
    needless: int
    records_differing: int


@dataclass(frozen=True, slots=True)
class Result:
    """A cell's: `hits` requests met the fault; the first run ended in `first_state`, with `first_code` if it failed."""

    fault: str
    phase: str
    hits: int
    runs: int
    first_state: str
    first_code: str
    seconds: float
    verdict: Verdict
    notes: Mapping[str, str] = field(default_factory=dict)


def settings_for(state: SandboxState) -> dict[str, str]:
    """What allows the proxies' addresses in a home that has no sandbox of its own."""
    return {"EUROSKY_ALLOW_PRIVATE_HOSTS": "true", "EUROSKY_PLC_URL": state.plc_url}


@contextmanager
def alone(sandbox_home: Path) -> Iterator[tuple[Path, SandboxState]]:
    """A new home for one migration in the sandbox of another; this process's environment is its own from now on."""
    state = load_state(sandbox_home)
    assert state is not None, f"no sandbox in {sandbox_home}"
    with tempfile.TemporaryDirectory(prefix="eurosky-faults-") as folder:
        os.environ.update({"EUROSKY_HOME": folder, **settings_for(state)})
        yield Path(folder), state


@contextmanager
def staged(
    home: Path,
    state: SandboxState,
    *,
    source_rules: Sequence[Rule] = (),
    destination_rules: Sequence[Rule] = (),
    blobs: int = BLOBS,
    blob_bytes: int = BLOB_BYTES,
    seed_number: int = 1,
) -> Iterator[Stage]:
    """A new account of the sandbox, and a migration of it through proxies.

    The environment must hold `EUROSKY_HOME=home` and `settings_for(state)`.
    """
    account = seed(state, records=2 + blobs // 2, blobs=blobs, blob_bytes=blob_bytes, report=lambda _: None)
    with new_http_client(2, HostPolicy(is_private_allowed=True)) as http:
        planned = frozenset(map(str, list_blobs(XrpcClient(http, account.source_pds), account.did)))
    registry = open_registry(load_settings())
    with (
        fault_proxy(account.source_pds, *source_rules, seed=seed_number) as source,
        fault_proxy(account.destination_pds, *destination_rules, seed=seed_number) as destination,
    ):
        through = replace(account, source_pds=source.url, destination_pds=destination.url)
        token = register(registry, through).token
        try:
            yield Stage(home, settings_for(state), account, source, destination, registry, token, planned)
        finally:
            registry.close()


def run_to_the_end(stage: Stage, fault: str, phase: str, *, most_runs: int = 3) -> Result:
    """Run the job; where it does not come to its end, the fault is over and it is run again."""
    started_s, runs = time.monotonic(), 0
    first = run_job(stage.registry, stage.token).migration
    runs += 1
    last = first
    while last.state is not State.PENDING_PREFS and runs < most_runs:
        for proxy in (stage.source, stage.destination):
            proxy.rules[:] = [rule for rule in proxy.rules if rule.blob_cid is not None]
        last = run_job(stage.registry, stage.token).migration
        runs += 1
    return Result(
        fault=fault,
        phase=phase,
        hits=stage.source.record.hits() + stage.destination.record.hits(),
        runs=runs,
        first_state=str(first.state),
        first_code=first.error_code or "",
        seconds=round(time.monotonic() - started_s, 1),
        verdict=look(stage),
    )


def look(stage: Stage) -> Verdict:
    """Compare both servers, not through the proxies, and then what was found with what the registry says."""
    differing = _differences(stage.account)
    absent = {found.group(1) for text in differing if (found := _BLOB.match(text))} & stage.planned
    ledger = stage.registry.outcomes(stage.token)
    failed = {str(row.blob_cid): str(row.outcome) for row in ledger if not row.is_there}
    progress = stage.migration.progress_data
    stored, confirmed = stage.stored(), stage.destination.record.confirmed()
    there = [row for row in ledger if row.is_there]
    arrived = len(stage.planned - absent)
    sums = {
        "blobs_total": len(ledger),
        "blobs_completed": len(there),
        "bytes_transferred": sum(row.size_bytes for row in there if row.outcome is Outcome.TRANSFERRED),
        "failed_blobs": sorted(failed),
    }
    told = {name: progress.get(name) for name in sums}
    told["failed_blobs"] = sorted(progress.get("failed_blobs") or [])
    return Verdict(
        planned=len(stage.planned),
        arrived=arrived,
        named=Counter(failed[cid] for cid in absent & failed.keys()),
        lost=tuple(sorted(absent - failed.keys())),
        counted_twice=max(0, (progress.get("blobs_completed") or 0) - arrived),
        miscounts=tuple(f"{name}: {told[name]}, not {sums[name]}" for name in sums if told[name] != sums[name]),
        sent_again=sum(stored.values()) - len(stored),
        needless=sum(confirmed.values()) - len(confirmed),
        records_differing=sum(text.startswith("record ") for text in differing),
    )


def _differences(account: SeededAccount) -> tuple[str, ...]:
    return _verified(account).differences


def _verified(account: SeededAccount) -> Verification:
    with new_http_client(5, HostPolicy(is_private_allowed=True)) as http:
        source, destination = XrpcClient(http, account.source_pds), XrpcClient(http, account.destination_pds)
        session = log_in(destination, account.did, SecretStr(account.destination_password))
        return verify_accounts(source, destination.with_authorization(session), account.did)
