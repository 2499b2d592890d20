"""Backfills on the real daemon and webserver, launched as the UI does it: one run a migration for the whole chain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eurosky_pipeline.orchestration.assets import ALL_ASSETS
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.integration.dagster_server import ENDED, DagsterServer, RunSeen, running_up, wait_until
from eurosky_pipeline_tests.integration.relay_pds import RelayPds, relay_pds
from eurosky_pipeline_tests.pipeline import register
from eurosky_pipeline_tests.stub_pds import Answer

ASSETS = [asset.key.to_user_string() for asset in ALL_ASSETS]
IMPORT_REPO = "com.atproto.repo.importRepo"


@pytest.fixture(scope="module")
def registry(sandbox) -> Registry:
    return open_registry(load_settings())


@pytest.fixture(scope="module")
def limited(sandbox) -> Iterator[RelayPds]:
    """A destination that imports nothing for an hour."""
    with relay_pds(sandbox.state.destination_pds) as relay:
        relay.faults[IMPORT_REPO] = lambda _: Answer(
            b'{"error": "RateLimitExceeded"}', 429, headers={"retry-after": "3600"}
        )
        yield relay


@pytest.fixture(scope="module")
def server(sandbox) -> Iterator[DagsterServer]:
    variables = {
        "EUROSKY_SENSORS_OFF": "new_migrations,resume_waiting",
        "EUROSKY_ALLOW_PRIVATE_HOSTS": "true",
        "EUROSKY_PLC_URL": sandbox.state.plc_url,
    }
    with running_up(sandbox.home, **variables) as running:
        yield running


@pytest.fixture(scope="module")
def accounts(sandbox) -> list[SeededAccount]:
    return [seed(sandbox.state, records=6, blobs=2, blob_bytes=9_000, report=print) for _ in range(6)]


@pytest.fixture(scope="module")
def tokens(registry: Registry, accounts: list[SeededAccount], limited: RelayPds) -> list[str]:
    """Two that arrive, one whose password is wrong, one whose destination asks for an hour; and two more."""
    first, second, third, fourth, *others = accounts
    return [
        register(registry, first).token,
        register(registry, second).token,
        register(registry, third, password="not the password").token,
        register(registry, fourth, destination_pds=limited.url).token,
        *(register(registry, account).token for account in others),
    ]


@pytest.fixture(scope="module")
def backfills(server: DagsterServer, tokens: list[str]) -> tuple[str, str]:
    """Of the six assets and of the job, side by side: the daemon looks for backfills twice a minute."""
    return server.backfill(tokens[:4], ASSETS), server.backfill(tokens[4:])


def runs_of(server: DagsterServer, backfill_id: str, count: int) -> dict[str, RunSeen]:
    """All runs of a backfill by token, when so many have ended."""
    wait_until(lambda: sum(run.status in ENDED for run in server.runs(dagster__backfill=backfill_id)) >= count, 180)
    runs = server.runs(dagster__backfill=backfill_id)
    assert len({run.token for run in runs}) == len(runs) == count
    return {run.token: run for run in runs}


def test_a_backfill_of_the_six_assets_is_one_run_a_migration_whatever_becomes_of_the_others(
    registry: Registry, server: DagsterServer, tokens: list[str], backfills: tuple[str, str]
) -> None:
    runs = runs_of(server, backfills[0], 4)
    arrived, also, refused, waiting = tokens[:4]
    for token in (arrived, also):
        assert (runs[token].status, runs[token].steps) == ("SUCCESS", dict.fromkeys(ASSETS, "SUCCESS"))
        assert registry.get(token).state is State.PENDING_PREFS
    assert (runs[refused].status, registry.get(refused).error_code) == ("FAILURE", "wrong_password")
    assert (runs[waiting].status, registry.get(waiting).state) == ("SUCCESS", State.WAITING)
    assert runs[waiting].steps["transferred_blobs"] == "SKIPPED"
    assert [registry.get(token).attempts for token in runs] == [1] * 4
    assert {run.tags["eurosky/lane"] for run in runs.values()} == {"bulk"}
    assert runs[arrived].tags["eurosky/did"] == registry.get(arrived).did


def test_a_backfill_of_the_job_from_its_page_is_one_run_a_migration_too(
    registry: Registry, server: DagsterServer, tokens: list[str], backfills: tuple[str, str]
) -> None:
    runs = runs_of(server, backfills[1], 2)
    assert sorted(runs) == sorted(tokens[4:])
    assert [run.steps for run in runs.values()] == [dict.fromkeys(ASSETS, "SUCCESS")] * 2
    assert {registry.get(token).state for token in runs} == {State.PENDING_PREFS}


def test_a_backfill_of_one_asset_redoes_just_that_and_a_failure_ends_only_its_own_backfill_as_failed(
    registry: Registry, server: DagsterServer, tokens: list[str], backfills: tuple[str, str]
) -> None:
    arrived = tokens[:2]
    before = [registry.outcomes(token) for token in arrived]
    runs = runs_of(server, server.backfill(arrived, ["reconciliation_report"]), 2)
    assert [run.steps for run in runs.values()] == [{"reconciliation_report": "SUCCESS"}] * 2
    assert [registry.outcomes(token) for token in arrived] == before
    assert {registry.get(token).state for token in arrived} == {State.PENDING_PREFS}
    statuses = ["COMPLETED_FAILED", "COMPLETED_SUCCESS"]
    wait_until(lambda: [server.backfill_status(backfill) for backfill in backfills] == statuses, 120)
