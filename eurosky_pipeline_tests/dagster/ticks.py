"""Ticks of the sensors as function calls, and what the daemon makes of what they ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    SensorDefinition,
    SensorResult,
    SkipReason,
    build_sensor_context,
)
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from eurosky_pipeline.orchestration.workers import WORKER_TAG, worker_tag

_JOB = RemoteJobOrigin(
    repository_origin=RemoteRepositoryOrigin(
        code_location_origin=RegisteredCodeLocationOrigin("eurosky_pipeline"), repository_name="__repository__"
    ),
    job_name="migrate_account",
)
_CODE = JobPythonOrigin(
    job_name="migrate_account",
    repository_origin=RepositoryPythonOrigin(
        executable_path=sys.executable, code_pointer=ModuleCodePointer("eurosky_pipeline.definitions", "defs")
    ),
)


def tick(
    sensor: SensorDefinition, instance: DagsterInstance, cursor: str | None = None
) -> tuple[SensorResult | SkipReason, str | None]:
    """What one tick asks for or says, and its cursor."""
    context = build_sensor_context(instance=instance, cursor=cursor)
    result = sensor(context)
    assert isinstance(result, SensorResult | SkipReason)
    return result, context.cursor


def asked_for(sensor: SensorDefinition, instance: DagsterInstance) -> list[RunRequest]:
    result, _ = tick(sensor, instance)
    return list(result.run_requests or []) if isinstance(result, SensorResult) else []


def said(sensor: SensorDefinition, instance: DagsterInstance, cursor: str | None = None) -> str:
    """What a tick that asks for nothing says."""
    result, _ = tick(sensor, instance, cursor)
    assert isinstance(result, SkipReason)
    return str(result.skip_message)


def launched(
    instance: DagsterInstance, request: RunRequest, status: DagsterRunStatus = DagsterRunStatus.QUEUED, **tags: str
) -> DagsterRun:
    """What the daemon makes of a request."""
    key = {"dagster/partition": str(request.partition_key), "dagster/run_key": str(request.run_key)}
    return create_run_for_test(
        instance, tags={**request.tags, **key, **tags}, status=status, remote_job_origin=_JOB, job_code_origin=_CODE
    )


def run_of(instance: DagsterInstance, token: str, status: DagsterRunStatus, **tags: str) -> DagsterRun:
    return create_run_for_test(instance, tags={"dagster/partition": token, **tags}, status=status)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def living() -> dict[str, str]:
    """The tag of a run in this process."""
    return worker_tag()


def dead() -> dict[str, str]:
    """The tag of a run in a process that has ended."""
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from eurosky_pipeline.orchestration.workers import *; print(worker_tag()[{WORKER_TAG!r}])",
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    return {WORKER_TAG: process.stdout.strip()}
