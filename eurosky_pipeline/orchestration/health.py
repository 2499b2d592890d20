"""Whether Dagster's instance is ours, can be reached, and is worked on: looked at, and never made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import NullPool, create_engine, inspect
from sqlalchemy.exc import DatabaseError

from eurosky_pipeline.orchestration.instance import FORMER_INSTANCE_FILES, INSTANCE_FILE
from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health
from eurosky_pipeline.registry.database import server_url
from eurosky_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._daemon.types import DaemonStatus

_NAME = "Dagster"
_QUEUE = "queue"
_CLASS = ("module", "class")
_FILES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
_TABLES = frozenset({"runs", "event_logs", "instigators", "daemon_heartbeats"})
_SILENCE_S = 120.0
_UP_HINT = "`eurosky up` starts it"


def look_at_dagster(settings: Settings, switches: Mapping[str, bool]) -> list[Diagnosis]:
    """The instance's file, its storage, its daemon, its queue, and what starts runs by itself.

    Args:
        switches: names of sensors and schedules, and whether each is on until a person says otherwise.
    """
    folder = settings.resolved_dagster_home
    if not folder.exists():
        return [Diagnosis(_NAME, Health.OK, f"{folder}: not there yet, the first command makes it")]
    row, is_usable = _look_at_file(folder, is_on_server=server_url(settings) is not None)
    if not is_usable:
        return [row]
    rows = [row, *_look_at_queue(folder)]
    try:
        is_made = _is_storage_made(settings, folder)
    except DatabaseError:
        hint = "see to the database first: Dagster's storage is in it"
        return [*rows, Diagnosis(_NAME, Health.BAD, "its storage cannot be reached", hint)]
    if not is_made:
        return [*rows, Diagnosis(_NAME, Health.OK, "its storage is not there yet, the first run makes it")]
    return [*rows, *_look_inside(folder, switches)]


def _look_at_file(folder: Path, *, is_on_server: bool) -> tuple[Diagnosis, bool]:
    """The row, and whether an instance can be opened with it."""
    import yaml  # type: ignore[import-untyped]

    path = folder / "dagster.yaml"
    if not path.exists():
        return Diagnosis(_NAME, Health.OK, f"{path} is not there yet, the next command puts it there"), False
    text = path.read_bytes()
    if text == INSTANCE_FILE.read_bytes():
        return Diagnosis(_NAME, Health.OK, f"{path} is the project's"), True
    if hashlib.sha256(text).hexdigest() in FORMER_INSTANCE_FILES:
        hint = "the next command brings it up to date; what runs with the older program should be stopped before"
        return Diagnosis(_NAME, Health.WARN, f"{path} is the project's of an earlier version", hint), True
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict):
        hint = "correct it; or move it away, and the next command puts the project's in its place"
        return Diagnosis(_NAME, Health.BAD, f"{path} is no YAML of settings", hint), False
    keys = yaml.safe_load(INSTANCE_FILE.read_bytes())
    if is_on_server and config.get("storage") != keys["storage"]:
        hint = f"give it the `storage` of {INSTANCE_FILE}, or move it away: the next command puts the project's there"
        return Diagnosis(
            _NAME, Health.BAD, f"{path} keeps Dagster's runs elsewhere than in EUROSKY_DATABASE_URL", hint
        ), True
    lost = ", ".join(sorted(set(keys) - set(config)))
    found = f"{path} was changed by a person{f', and says nothing of {lost}' if lost else ''}"
    return Diagnosis(_NAME, Health.OK, found, f"compare {INSTANCE_FILE}" if lost else ""), True


def _look_at_queue(folder: Path) -> Iterator[Diagnosis]:
    """Where the file is a person's: whether the queue that it sets up knows lanes and the pause."""
    import yaml

    config, ours = (yaml.safe_load((path).read_bytes()) for path in (folder / "dagster.yaml", INSTANCE_FILE))
    named, wanted = config.get("run_coordinator"), ours["run_coordinator"]
    if not isinstance(named, dict) or [named.get(key) for key in _CLASS] != [wanted[key] for key in _CLASS]:
        found = "the queue knows no lanes, and starts runs in a pause (`eurosky pause`)"
        hint = f"give {folder / 'dagster.yaml'} the `run_coordinator` of {INSTANCE_FILE}, and no `concurrency: runs`"
        yield Diagnosis(_QUEUE, Health.WARN, found, hint)
    elif "runs" in (config.get("concurrency") or ()):
        found = "`concurrency: runs` overrules the numbers of `run_coordinator`, and the pause with them"
        yield Diagnosis(_QUEUE, Health.WARN, found, f"take it out of {folder / 'dagster.yaml'}")


def _is_storage_made(settings: Settings, folder: Path) -> bool:
    """Whether opening the instance would find its storage, and make none."""
    url = server_url(settings)
    if url is None:
        return all((folder / name).exists() for name in _FILES)
    engine = create_engine(url, poolclass=NullPool)
    try:
        return set(inspect(engine).get_table_names()) >= _TABLES
    finally:
        engine.dispose()


def _look_inside(folder: Path, switches: Mapping[str, bool]) -> list[Diagnosis]:
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(folder)) as instance:
        return [*_look_at_daemon(instance), _look_at_switches(instance, switches)]


def _look_at_daemon(instance: DagsterInstance) -> Iterator[Diagnosis]:
    from dagster import DagsterRunStatus, RunsFilter

    statuses = instance.get_daemon_statuses()
    silent = sorted(name for name, status in statuses.items() if status.required and not _is_alive(status))
    is_running = len(silent) < sum(status.required for status in statuses.values())
    queued = instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.QUEUED]))
    under_way = instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING]))
    runs = f"{queued} runs queued, {under_way} under way"
    if not silent:
        yield Diagnosis("daemon", Health.OK, f"runs; {runs}")
    elif is_running:
        yield Diagnosis(
            "daemon", Health.BAD, f"runs, but not {', '.join(silent)}; {runs}", "stop it and start it again"
        )
    elif queued:
        yield Diagnosis("daemon", Health.BAD, f"does not run, and nobody else starts what is queued; {runs}", _UP_HINT)
    else:
        yield Diagnosis("daemon", Health.OK, f"does not run; {runs}", f"{_UP_HINT}; `eurosky migrate` needs none")


def _is_alive(status: DaemonStatus) -> bool:
    """Dagster itself takes a daemon for alive until half an hour after its last word; it has one every half minute."""
    heartbeat = status.last_heartbeat
    return bool(status.healthy) and heartbeat is not None and time.time() - heartbeat.timestamp < _SILENCE_S


def _look_at_switches(instance: DagsterInstance, switches: Mapping[str, bool]) -> Diagnosis:
    """Sensors and schedules are off until a person switches them on: that is no fault, but worth knowing."""
    from dagster._core.scheduler.instigation import InstigatorStatus

    states = {state.instigator_name: state.status for state in instance.all_instigator_state()}
    is_on = {
        name: states[name] is not InstigatorStatus.STOPPED if name in states else by_itself
        for name, by_itself in switches.items()
    }
    told = ", ".join(f"{name} {'on' if is_on[name] else 'off'}" for name in sorted(is_on))
    hint = "" if all(is_on.values()) else "switch on in the UI (Automation) what should start by itself"
    return Diagnosis("sensors", Health.OK, told or "there are none", hint)
