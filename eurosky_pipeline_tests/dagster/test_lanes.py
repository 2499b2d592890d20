"""Lanes: what a queued run's turn is decided by, and what Dagster's own queue makes of it on a real instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from sqlalchemy.exc import OperationalError

from eurosky_pipeline.definitions import defs
from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.orchestration.lanes import (
    BULK,
    BULK_DESTINATION_TAG,
    CRITICAL,
    DESTINATION_TAG,
    LANE_TAG,
    SOURCE_TAG,
    LaneCoordinator,
    missing_tags,
    tag_limits,
)
from eurosky_pipeline.orchestration.steps import queue_tags
from eurosky_pipeline.registry.controls import Controls, Hosts
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import load_settings

HOSTS = Hosts("https://old.example", "https://new.example")
TO_NEW = {SOURCE_TAG: HOSTS.source_pds, DESTINATION_TAG: HOSTS.destination_pds}
_LOCATION = ManagedGrpcPythonEnvCodeLocationOrigin(
    LoadableTargetOrigin(module_name="eurosky_pipeline.definitions", attribute="defs"), "eurosky_pipeline"
)
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(_LOCATION, "__repository__"), "migrate_account")


def lacks(**tags: str) -> dict[str, str]:
    """What a run with these tags gets; `lane`, `partition`, … stand for their names."""
    names = {
        "lane": LANE_TAG,
        "partition": "dagster/partition",
        "priority": "dagster/priority",
        "destination": DESTINATION_TAG,
        "source": SOURCE_TAG,
        "bulk_destination": BULK_DESTINATION_TAG,
    }
    known = {"EURO-1": HOSTS}
    return missing_tags("the-run", {names[key]: value for key, value in tags.items()}, known.get)


def test_a_run_of_the_ui_or_a_backfill_gets_lane_and_hosts() -> None:
    assert lacks(partition="EURO-1") == {**TO_NEW, LANE_TAG: BULK, BULK_DESTINATION_TAG: HOSTS.destination_pds}


@pytest.mark.parametrize("lane", ["", "Critical", "urgent", "bulk "])
def test_a_lane_that_nobody_knows_is_bulk(lane: str) -> None:
    assert lacks(lane=lane)[LANE_TAG] == BULK


def test_a_run_of_an_unknown_migration_or_of_none_gets_no_host() -> None:
    assert lacks(partition="EURO-2") == {LANE_TAG: BULK}
    assert lacks() == {LANE_TAG: BULK}


def test_a_critical_run_goes_first_and_is_limited_by_no_destination() -> None:
    assert lacks(lane=CRITICAL, partition="EURO-1") == {**TO_NEW, "dagster/priority": "100"}
    assert lacks(lane=CRITICAL, priority="7") == {}
    made_of_a_bulk_run = lacks(lane=CRITICAL, priority="7", bulk_destination=HOSTS.destination_pds)
    assert made_of_a_bulk_run == {BULK_DESTINATION_TAG: "the-run"}


def test_what_a_sensor_or_migrate_queues_lacks_nothing(migration: Migration) -> None:
    assert missing_tags("the-run", queue_tags(migration), lambda _: None) == {}


def test_a_ceiling_of_none_has_no_entry_since_dagster_would_take_it_for_not_one() -> None:
    assert tag_limits(-1, -1, -1) == []
    assert [entry["limit"] for entry in tag_limits(10, 0, 3)] == [10, 0, 3]
    with pytest.raises(ValueError, match="number from 0"):
        tag_limits(10, -2, -1)


def test_maintenance_does_not_wait_behind_bulk() -> None:
    jobs = defs.get_repository_def().get_all_jobs()
    lanes = {job.name: job.tags.get(LANE_TAG) for job in jobs if job.name.startswith("purge_")}
    assert lanes == {"purge_credentials_job": CRITICAL, "purge_finished_job": CRITICAL}


def make_instance(**numbers: int) -> None:
    """The project's `dagster.yaml`, with these numbers in place of its own."""
    path = prepare_instance(load_settings()) / "dagster.yaml"
    config = yaml.safe_load(path.read_text())
    config["run_coordinator"]["config"].update(numbers)
    path.write_text(yaml.safe_dump(config))


@pytest.fixture
def instance(registry: Registry) -> Iterator[DagsterInstance]:
    """Two bulk runs at once, one a destination."""
    make_instance(max_concurrent_runs=2, max_concurrent_runs_per_destination=1)
    with open_instance() as opened:
        yield opened


def queue(instance: DagsterInstance, **tags: str) -> DagsterRun:
    run = create_run_for_test(
        instance, "migrate_account", tags={key.replace("__", "/"): value for key, value in tags.items()},
        remote_job_origin=ORIGIN,
    )  # fmt: skip
    return instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]


def begin(instance: DagsterInstance, tags: Mapping[str, str]) -> None:
    create_run_for_test(instance, "migrate_account", tags=dict(tags), status=DagsterRunStatus.STARTED)


class Daemon:
    """Dagster's daemon of the queue, as far as it chooses what it launches."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance
        interval_s = instance.run_coordinator.dequeue_interval_seconds  # type: ignore[attr-defined]
        self.daemon = QueuedRunCoordinatorDaemon(interval_s)

    def chosen(self) -> list[str]:
        config = self.instance.get_concurrency_config()
        return [run.run_id for run in self.daemon._get_runs_to_dequeue(self.instance, config, None)]


def bulk_to(host: str) -> dict[str, str]:
    return {LANE_TAG: BULK, BULK_DESTINATION_TAG: host}


def test_the_projects_file_names_the_coordinator_and_ten_at_once(registry: Registry) -> None:
    prepare_instance(load_settings())
    with open_instance() as instance:
        assert isinstance(instance.run_coordinator, LaneCoordinator)
        config = instance.get_concurrency_config().run_queue_config
        assert config is not None
        assert config.tag_concurrency_limits == [{"key": LANE_TAG, "value": BULK, "limit": 10}]
        assert config.max_concurrent_runs == -1


def test_what_is_queued_has_its_tags_in_dagsters_storage(
    instance: DagsterInstance, migration: Migration, registry: Registry
) -> None:
    run = queue(instance, dagster__partition=migration.token)
    assert run.status is DagsterRunStatus.QUEUED
    stored = instance.get_run_by_id(run.run_id)
    assert stored is not None
    assert stored.tags.items() >= {**queue_tags(migration), "dagster/partition": migration.token}.items()


def test_a_run_is_queued_though_the_registry_cannot_be_asked(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Hosts:
        raise OperationalError("SELECT", {}, Exception("postgresql://mover:canary@db"))

    monkeypatch.setattr(Controls, "hosts_of", away)
    run = queue(instance, dagster__partition="EURO-1")
    assert (run.status, run.tags[LANE_TAG]) == (DagsterRunStatus.QUEUED, BULK)


def test_a_critical_run_begins_first_although_bulk_is_full_and_has_waited_longer(instance: DagsterInstance) -> None:
    daemon = Daemon(instance)
    waiting = [queue(instance, eurosky__destination_pds=f"https://{n}.example").run_id for n in range(3)]
    assert daemon.chosen() == waiting[:2]
    begin(instance, bulk_to("https://a.example"))
    begin(instance, bulk_to("https://b.example"))
    assert daemon.chosen() == []
    critical = queue(instance, eurosky__lane=CRITICAL, eurosky__destination_pds="https://a.example")
    assert daemon.chosen() == [critical.run_id]
    begin(instance, critical.tags)
    assert daemon.chosen() == [critical.run_id], "one that is under way blocks no other"


def test_critical_runs_do_not_count_in_the_bulk_ceiling(instance: DagsterInstance) -> None:
    for _ in range(3):
        begin(instance, {LANE_TAG: CRITICAL})
    waiting = queue(instance)
    assert Daemon(instance).chosen() == [waiting.run_id]


def test_of_bulk_runs_to_one_host_so_many_begin_and_to_another_as_many(instance: DagsterInstance) -> None:
    first, _, third = (queue(instance, eurosky__destination_pds=f"https://{h}.example").run_id for h in "aab")
    assert Daemon(instance).chosen() == [first, third]
    begin(instance, bulk_to("https://a.example"))
    assert Daemon(instance).chosen() == [third]


def test_a_long_queue_is_not_read_while_bulk_is_full(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(instance)
    queue(instance)
    begin(instance, bulk_to("https://a.example"))
    begin(instance, bulk_to("https://b.example"))
    monkeypatch.setattr(instance, "get_runs", lambda *_, **__: pytest.fail("the queue is read"))
    assert daemon.chosen() == []


def test_in_a_pause_neither_lane_begins_anything_and_the_daemon_says_that_it_has_seen_it(
    instance: DagsterInstance, registry: Registry
) -> None:
    daemon = Daemon(instance)
    waiting = [queue(instance).run_id, queue(instance, eurosky__lane=CRITICAL).run_id]
    pause = registry.pause()
    controls = Controls(registry._engine)
    assert not controls.is_seen(pause)
    assert daemon.chosen() == []
    assert controls.is_seen(pause)
    registry.end_pause()
    assert sorted(daemon.chosen()) == sorted(waiting)


def test_where_nobody_can_tell_whether_there_is_a_pause_nothing_is_chosen(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(instance)
    queue(instance)

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(Controls, "paused", away)
    with pytest.raises(OperationalError):
        daemon.chosen()


def test_a_process_that_only_runs_something_does_not_look_for_a_pause(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Controls, "paused", lambda _: pytest.fail("each run would open the registry once more"))
    assert instance.event_log_storage.get_pool_config() is not None
    assert instance.get_concurrency_config().run_queue_config is not None


def test_an_operators_own_limits_of_tags_hold_too(registry: Registry, home: Path) -> None:
    path = prepare_instance(load_settings()) / "dagster.yaml"
    config = yaml.safe_load(path.read_text())
    config["run_coordinator"]["config"]["tag_concurrency_limits"] = [{"key": SOURCE_TAG, "limit": 1}]
    path.write_text(yaml.safe_dump(config))
    with open_instance() as instance:
        first, _ = (queue(instance, eurosky__source_pds="https://a.example").run_id for _ in range(2))
        assert Daemon(instance).chosen() == [first]
