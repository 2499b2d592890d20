"""A whole migration whose artifacts are on S3, and what another machine finds there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from eurosky_pipeline.artifacts.workspace import Workspace
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.canary import traces
from eurosky_pipeline_tests.pipeline import register, run_job
from eurosky_pipeline_tests.s3_server import BUCKET, KEYS, S3Server, environment, s3_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server() as running:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in environment(running).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("EUROSKY_ARTIFACTS", f"s3://{BUCKET}/eu")
        yield running


def test_a_migration_keeps_its_files_on_s3_and_another_scratch_gets_them_back(sandbox, server: S3Server) -> None:
    registry = open_registry(load_settings())
    account = seed(sandbox.state, records=12, blobs=2, blob_bytes=10_000, report=print)
    token = register(registry, account).token
    run = run_job(registry, token)
    assert run.migration.state is State.PENDING_PREFS
    names = ["account.car", "account.converted.car", "blob_manifest.csv"]
    names += ["reconciliation_records.csv", "reconciliation_report.csv"]
    assert server.keys() == [f"eu/{token}/{name}" for name in names]
    assert not (sandbox.home / "artifacts" / token).exists()

    exported, report = run.metadata("exported_car"), run.metadata("reconciliation_report")
    assert exported["path"] == f"s3://{BUCKET}/eu/{token}/account.car"
    assert hashlib.sha256(server.body(f"eu/{token}/account.car")).hexdigest() == exported["sha256"]
    assert run.migration.progress_data["converted_car_path"] == f"s3://{BUCKET}/eu/{token}/account.converted.car"
    assert report["path"] == f"s3://{BUCKET}/eu/{token}/reconciliation_report.csv"
    verdicts = pd.read_csv(BytesIO(server.body(f"eu/{token}/reconciliation_report.csv")))["verdict"]
    assert list(verdicts) == ["matched", "matched"]

    shutil.rmtree(sandbox.home / "work" / token)
    server.requests.clear()
    again = run_job(registry, token, assets=["reconciliation_report"])
    assert again.result.success
    assert {f"/{BUCKET}/eu/{token}/account.converted.car"} <= {r.path for r in server.requests if r.method == "GET"}

    shutil.rmtree(sandbox.home / "work" / token)
    damaged = server.body(f"eu/{token}/account.converted.car")[:-1]
    server.client.put_object(
        Bucket=BUCKET, Key=f"eu/{token}/account.converted.car", Body=damaged, Metadata={"sha256": exported["sha256"]}
    )
    refused = run_job(registry, token, assets=["imported_repo"])
    assert refused.migration.error_code == "artifact_damaged"
    assert not (sandbox.home / "work" / token / "account.converted.car").exists()

    assert traces([*KEYS.values()], sandbox.home) == []
    settings = load_settings()
    assert len(Workspace(settings.home, settings.resolved_artifacts, token).delete_all().names) >= len(names)
    assert server.keys() == []
    assert not Path(sandbox.home / "work" / token).exists()
    registry.close()
