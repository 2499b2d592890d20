"""Dagster's storage: where the registry is, by one setting that nobody can read afterwards; a restart is outlasted."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import serialize_value

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.orchestration.instance import INSTANCE_FILE, open_instance, prepare_instance
from eurosky_pipeline.registry import patience
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.postgres import PASSWORD, PostgresServer


@pytest.fixture
def on_postgresql(home: Path, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the database that `EUROSKY_DATABASE_URL` names."""
    monkeypatch.setenv("EUROSKY_DATABASE_URL", empty_postgres_url)
    prepare_instance(load_settings())
    return empty_postgres_url.rpartition("/")[2]


def keys(instance: DagsterInstance) -> list[str]:
    return list(instance.get_dynamic_partitions("migrations"))


def test_the_one_setting_moves_dagster_to_postgresql(on_postgresql: str, postgres_server: PostgresServer) -> None:
    with open_instance() as instance:
        instance.add_dynamic_partitions("migrations", ["EURO-1"])
    assert postgres_server.execute(on_postgresql, "SELECT partition FROM dynamic_partitions") == [("EURO-1",)]


def test_what_is_handed_to_other_processes_opens_the_same_storage_and_holds_no_url(
    on_postgresql: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_instance() as instance:
        instance.add_dynamic_partitions("migrations", ["EURO-1"])
        ref = instance.get_ref()
        seen = [serialize_value(ref), instance.info_str(), str(instance.info_dict()), repr(instance.run_storage)]
    seen += [repr(ref), (home / "dagster" / "dagster.yaml").read_text(), *capsys.readouterr()]
    with DagsterInstance.from_ref(ref) as instance:
        assert keys(instance) == ["EURO-1"]
    assert isinstance(ref, InstanceRef)
    for text in seen:
        assert PASSWORD not in text
        assert "127.0.0.1" not in text


def test_runs_of_an_instance_of_dagsters_own_layout_are_still_there(home: Path) -> None:
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with DagsterInstance.get() as before:
        before.add_dynamic_partitions("migrations", ["EURO-1"])
        run = before.create_run_for_job(_job())
    (home / "dagster" / "dagster.yaml").write_text(INSTANCE_FILE.read_text())
    with open_instance() as after:
        assert keys(after) == ["EURO-1"]
        assert after.has_run(run.run_id)


def test_of_several_that_come_first_at_once_one_makes_the_tables(on_postgresql: str) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_open, args=(barrier,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_what_the_server_was_asked_while_it_was_away_is_done_when_it_is_back(
    on_postgresql: str, postgres_server: PostgresServer
) -> None:
    with open_instance() as instance:
        postgres_server.stop()
        back = threading.Timer(1.0, postgres_server.start)
        back.start()
        try:
            instance.add_dynamic_partitions("migrations", ["EURO-1"])
        finally:
            back.join()
        assert keys(instance) == ["EURO-1"]


def test_a_server_that_stays_away_is_one_clear_error(on_postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_DATABASE_URL", f"postgresql://me:{PASSWORD}@127.0.0.1:1/eurosky")
    monkeypatch.setattr(patience, "PATIENCE_S", 0)
    with pytest.raises(SettingsError, match="Dagster's database cannot be opened: connection to server") as caught:
        open_instance()
    assert caught.value.code == "database_unavailable"
    assert PASSWORD not in caught.value.with_hint()


def _job():
    from dagster import job

    @job
    def nothing() -> None:
        pass

    return nothing


def _open(barrier) -> None:
    from dagster._core.instance.ref import InstanceRef

    ref = InstanceRef.from_dir(load_settings().resolved_dagster_home.as_posix())
    barrier.wait(60)
    with DagsterInstance.from_ref(ref) as instance:  # not by `open_instance`, which lets one of a machine after another
        sys.exit(0 if keys(instance) == [] else 1)
