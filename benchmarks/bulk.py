"""What a migration costs beyond its engine: `make bench`, or `python -m benchmarks.bulk --help`.

Some accounts are moved by the bodies of the assets, one after the other in one process, with the registry and its lease
and without Dagster; others by a backfill on a real `eurosky up`, with Dagster's own launcher and storage, and as it is.
What the processes of `eurosky up` take while nothing goes on is subtracted.
"""

import argparse
import itertools
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import yaml
from dagster import AssetKey

from benchmarks.document import replace_table, tell
from eurosky_pipeline.orchestration.assets import ALL_ASSETS
from eurosky_pipeline.orchestration.blob_transfer import BlobTransferResource
from eurosky_pipeline.orchestration.instance import INSTANCE_FILE, prepare_instance
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.network import down, up
from eurosky_pipeline.sandbox.seed import seed
from eurosky_pipeline.sandbox.state import SandboxState
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.progress import SilentProgress
from eurosky_pipeline_tests.integration.dagster_server import DagsterServer, running_up
from eurosky_pipeline_tests.pipeline import register

RECORDS, BLOBS, BLOB_BYTES = 20, 5, 20_000
MOST_WALL_S, MOST_CPU_S = 3.0, 4.5
_QUIET = "new_migrations,resume_waiting,stuck_migrations,migration_failed,deliver_events"
_IDLE_S = 15.0
_BEFORE: dict[str, Any] = {
    "storage": {"sqlite": {"base_dir": ""}},
    "run_launcher": {"module": "dagster", "class": "DefaultRunLauncher", "config": {}},
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one migration, on the average: seconds on the clock, and of CPU."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Measure, and print the table; `--write` puts it in its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--migrations", type=int, default=50, metavar="N", help="accounts of each kind")
    parser.add_argument(
        "--launcher", choices=["warm", "default", "both"], default="both", help="default: Dagster's, and its storage"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in FILE")
    options = parser.parse_args()
    ways = ["default", "warm"] if options.launcher == "both" else [options.launcher]

    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(EUROSKY_HOME=folder)
        sandbox = up(Path(folder), report=tell)
        try:
            engine = _engine_alone(_register(sandbox, options.migrations))
            costs = {way: _backfill(Path(folder), way, _register(sandbox, options.migrations)) for way in ways}
        finally:
            down(Path(folder), report=tell)
    table = "\n".join(
        [
            f"{options.migrations} accounts of {RECORDS} records and {BLOBS} blobs of {BLOB_BYTES / 1000:.0f} KB each; "
            f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, which the two PDSes share.",
            "",
            *_table(engine, costs),
        ]
    )
    print(table)
    if options.write:
        replace_table(options.write, "bulk", table)


def _register(sandbox: SandboxState, count: int) -> list[str]:
    registry = open_registry(load_settings())
    tell(f"seeding {count} accounts")
    try:
        return [
            register(registry, seed(sandbox, records=RECORDS, blobs=BLOBS, blob_bytes=BLOB_BYTES, report=_nobody)).token
            for _ in range(count)
        ]
    finally:
        registry.close()


def _nobody(_: str) -> None:
    pass


def _engine_alone(tokens: Sequence[str]) -> Cost:
    """The assets' own functions, called as a plain program would."""
    logging.disable(logging.WARNING)
    registry, pds = RegistryResource(), PdsResource()
    for resource in (registry, pds):
        resource.setup_for_execution(None)  # type: ignore[arg-type]
    given = {
        "registry": registry,
        "workspace": WorkspaceResource(),
        "pds": pds,
        "blob_transfer": BlobTransferResource(),
        "progress": SilentProgress(),
    }
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    for number, token in enumerate(tokens):
        run_id = f"engine-{number}"
        for asset in ALL_ASSETS:
            work = asset.op.compute_fn.decorated_fn
            names = work.__wrapped__.__annotations__.keys() & given.keys()
            for _ in work(_context(asset.key, token, run_id), **{name: given[name] for name in names}):
                pass
        registry.opened().release_leases(run_id)
    cost = Cost((time.monotonic() - began_s) / len(tokens), (time.process_time() - began_cpu_s) / len(tokens))
    _check(registry.opened(), tokens)
    pds.teardown_after_execution(None)  # type: ignore[arg-type]
    registry.opened().close()
    tell(f"the engine alone: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} s of CPU")
    return cost


def _context(key: AssetKey, token: str, run_id: str) -> Any:
    """As much of Dagster's context as the assets ask for."""
    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    record = SimpleNamespace(create_timestamp=None, start_time=time.time())
    return SimpleNamespace(
        partition_key=token,
        asset_key=key,
        run=SimpleNamespace(run_id=run_id, tags={"eurosky/did": token}),
        run_id=run_id,
        retry_number=0,
        log=logging.getLogger("engine"),
        log_event=nothing,
        resources=SimpleNamespace(progress=SilentProgress()),
        instance=SimpleNamespace(add_run_tags=nothing, get_run_record_by_id=lambda _: record),
    )


def _backfill(home: Path, way: str, tokens: Sequence[str]) -> Cost:
    folder = prepare_instance(load_settings())
    config = yaml.safe_load(INSTANCE_FILE.read_text())
    if way == "default":
        _BEFORE["storage"]["sqlite"]["base_dir"] = str(folder)
        config.update(_BEFORE)
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
    with running_up(home, log_name=f"up-{way}.log", EUROSKY_SENSORS_OFF=_QUIET) as server:
        time.sleep(_IDLE_S)
        idle_s = _cpu_s(server)
        time.sleep(_IDLE_S)
        idle_share = (_cpu_s(server) - idle_s) / _IDLE_S
        began_cpu_s, began_s = _cpu_s(server), time.time()
        backfill = server.backfill(tokens, [asset.key.to_user_string() for asset in ALL_ASSETS])
        runs = next(_ended(server, backfill, len(tokens)))
        cpu_s = _cpu_s(server) - began_cpu_s - idle_share * (time.time() - began_s)
        wall_s = max(run.ended_s or 0 for run in runs) - min(run.created_s for run in runs)
    registry = open_registry(load_settings())
    _check(registry, tokens)
    registry.close()
    cost = Cost(wall_s / len(tokens), cpu_s / len(tokens))
    tell(f"a backfill, {way}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} s of CPU a migration")
    return cost


def _ended(server: DagsterServer, backfill: str, count: int) -> Iterator[list[Any]]:
    """The backfill's runs, when all have succeeded. Raises RuntimeError if one has not, or if it takes too long."""
    for _ in itertools.takewhile(lambda n: n < 60 + 30 * count, itertools.count()):
        runs = server.runs(dagster__backfill=backfill)
        if any(run.status in {"FAILURE", "CANCELED"} for run in runs):
            raise RuntimeError("a run has failed: there is nothing to measure")
        if len(runs) == count and all(run.status == "SUCCESS" for run in runs):
            yield runs
        time.sleep(1)
    raise RuntimeError("the backfill has not ended")


def _cpu_s(server: DagsterServer) -> float:
    """Of all its processes, and of those that have ended and were waited for."""
    total = 0.0
    for process in server.processes():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _check(registry: Registry, tokens: Sequence[str]) -> None:
    """Raises RuntimeError if an account has not arrived whole: then there is nothing to measure."""
    for token in tokens:
        migration = registry.get(token)
        status = migration.progress_data.get("reconciliation_status")
        if (migration.state, status) != (State.PENDING_PREFS, "complete"):
            raise RuntimeError(f"{token} is {migration.state}, {status}: {migration.error_text}")


def _table(engine: Cost, costs: dict[str, Cost]) -> Iterator[str]:
    names = {"default": "a backfill, Dagster's own launcher and storage", "warm": "a backfill, as `eurosky up` runs it"}
    yield "| a migration | wall s | CPU s | wall overhead | CPU overhead | must |"
    yield "|---|---:|---:|---:|---:|---|"
    yield f"| the engine alone, one after another | {engine.wall_s:.2f} | {engine.cpu_s:.2f} | | | |"
    for way, cost in costs.items():
        wall_s, cpu_s = cost.wall_s - engine.wall_s, cost.cpu_s - engine.cpu_s
        is_met = wall_s <= MOST_WALL_S and cpu_s <= MOST_CPU_S
        must = f"≤ {MOST_WALL_S:.0f} s, ≤ {MOST_CPU_S} s{'' if is_met else ' (not met)'}" if way == "warm" else ""
        yield f"| {names[way]} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {wall_s:.2f} | {cpu_s:.2f} | {must} |"


if __name__ == "__main__":
    main()
