"""The sensor `expiring_credentials`: what nobody can run any more is seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from pydantic import SecretStr

from eurosky_pipeline.orchestration.sensors import expiring_credentials
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.dagster.ticks import run_of, said

Expire = Callable[[float], None]


@pytest.fixture
def expire(registry: Registry) -> Expire:
    """All stored passwords expire in so many hours from now."""

    def set_expiry(in_hours: float) -> None:
        moment = datetime.now(UTC) + timedelta(hours=in_hours)
        with registry._engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE credentials SET expires_at = '{moment:%Y-%m-%d %H:%M:%S.%f}'")

    return set_expiry


def test_one_whose_password_has_expired_is_failed_and_retry_with_a_password_brings_it_back(
    migration: Migration, registry: Registry, expire: Expire
) -> None:
    expire(-0.1)
    with DagsterInstance.ephemeral() as instance:
        assert "1 migrations are failed" in said(expiring_credentials, instance)
        failed = registry.get(migration.token)
        assert (failed.state, failed.error_code, failed.start_wanted_at) == (State.FAILED, "credentials_expired", None)
        assert "--destination-password-env" in (failed.error_text or "")
        registry.retry(migration.token, {Side.DESTINATION: SecretStr("anew")})
        assert "no password" in said(expiring_credentials, instance)
    assert registry.get(migration.token).state is State.PENDING_REPO


def test_one_that_waits_is_failed_too_and_goes_on_where_it_stopped(
    migration: Migration, registry: Registry, expire: Expire
) -> None:
    registry.transition(migration.token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.wait(migration.token, datetime.now(UTC), RateLimited("no more"))
    expire(-0.1)
    with DagsterInstance.ephemeral() as instance:
        said(expiring_credentials, instance)
    failed = registry.get(migration.token)
    assert (failed.state, failed.stopped_in, failed.resume_at) == (State.FAILED, State.PENDING_BLOBS, None)
    assert registry.retry(migration.token).state is State.PENDING_BLOBS


def test_one_whose_password_was_purged_when_it_had_expired_is_failed_too(
    migration: Migration, registry: Registry, expire: Expire
) -> None:
    expire(-0.1)
    registry.purge_credentials()
    with DagsterInstance.ephemeral() as instance:
        assert "no password" in said(expiring_credentials, instance)  # it may never have had one
        with registry._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE migrations SET created_at = '2020-01-01 00:00:00.000000'")
        assert "1 migrations are failed" in said(expiring_credentials, instance)


def test_one_whose_password_expires_soon_is_named_and_stays_as_it_is(
    migration: Migration, registry: Registry, expire: Expire, capfd: pytest.CaptureFixture[str]
) -> None:
    expire(5)
    with DagsterInstance.ephemeral() as instance:
        assert "1 passwords expire within 6 hours" in said(expiring_credentials, instance)
        assert migration.token in capfd.readouterr().err
        expire(7)
        assert "no password" in said(expiring_credentials, instance)
    assert registry.get(migration.token).state is State.PENDING_REPO


def test_one_that_a_run_works_on_or_waits_for_is_left_alone(
    migration: Migration, registry: Registry, expire: Expire
) -> None:
    expire(-0.1)
    with DagsterInstance.ephemeral() as instance:
        registry.acquire_lease(migration.token, "a-run", 60)
        assert "no password" in said(expiring_credentials, instance)
        registry.release_leases("a-run")
        run = run_of(instance, migration.token, DagsterRunStatus.STARTED)
        said(expiring_credentials, instance)
        assert registry.get(migration.token).state is State.PENDING_REPO
        instance.report_run_failed(run)
        said(expiring_credentials, instance)
    assert registry.get(migration.token).state is State.FAILED


def test_what_is_finished_or_given_up_needs_none(migration: Migration, registry: Registry, expire: Expire) -> None:
    other = registry.add(NewMigration("did:web:b.example", "https://old.example", "https://new.example"), {})
    registry.request_cancel(other.token)
    registry.transition(migration.token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(migration.token, State.PENDING_BLOBS, State.PENDING_PREFS)
    expire(-0.1)
    with DagsterInstance.ephemeral() as instance:
        assert "no password" in said(expiring_credentials, instance)
