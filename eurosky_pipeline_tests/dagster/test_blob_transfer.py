"""The transfer as a resource: what a run of it says of the hosts, and how a second one counts the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.artifacts.workspace import Workspace
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.orchestration.blob_transfer import BlobTransferResource
from eurosky_pipeline.orchestration.steps import Step
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.blobs import TransferTotals
from eurosky_pipeline.transfer.plan import TransferPlan
from eurosky_pipeline.xrpc.errors import ServerFault
from eurosky_pipeline.xrpc.workers import Stop
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

RESOURCE = BlobTransferResource(parallel_blobs=2, max_blob_retries=0)
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    registry = open_registry(load_settings())
    migration = registry.add(NewMigration(DID, "https://old.example", "https://new.example"), {})
    yield Step(migration, registry, Workspace(tmp_path, tmp_path / "artifacts", migration.token), Stop())
    registry.close()


@pytest.fixture
def source() -> FakePds:
    return FakePds("old.example")


@pytest.fixture
def destination() -> FakePds:
    return FakePds("new.example")


def put(source: FakePds, count: int) -> list[Cid]:
    return sorted(source.put(b"blob %d" % number) for number in range(count))


def run(step: Step, source: FakePds, destination: FakePds, cids: list[Cid]) -> TransferTotals:
    return RESOURCE.run(step, TransferPlan(cids), source.client, destination.client)


def breaks(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


def test_where_nothing_could_be_moved_since_the_source_is_down_the_run_fails_and_not_its_blobs(
    step: Step, source: FakePds, destination: FakePds
) -> None:
    cids = put(source, 3)
    source.faults |= {"getBlob": breaks, "describeServer": lambda _: json_answer({}, 503)}
    with pytest.raises(ServerFault, match=r"old\.example"):
        run(step, source, destination, cids)


def test_where_nothing_could_be_moved_since_the_destination_is_down_too(
    step: Step, source: FakePds, destination: FakePds
) -> None:
    cids, asked = put(source, 3), iter(range(2))
    destination.faults |= {
        "uploadBlob": breaks,
        "describeServer": lambda _: None if next(asked) == 0 else json_answer({}, 503),  # its limit was told before
    }
    with pytest.raises(ServerFault, match=r"new\.example"):
        run(step, source, destination, cids)


def test_where_both_hosts_are_well_the_failures_are_the_blobs_own(
    step: Step, source: FakePds, destination: FakePds
) -> None:
    cids = put(source, 3)
    source.faults["getBlob"] = breaks
    assert len(run(step, source, destination, cids).failed) == 3


def test_one_blob_that_arrives_is_enough_to_know_that_the_hosts_are_well(
    step: Step, source: FakePds, destination: FakePds
) -> None:
    cids = put(source, 3)
    source.faults |= {
        "getBlob": lambda request: breaks(request) if request.url.params["cid"] != str(cids[0]) else None,
        "describeServer": lambda _: json_answer({}, 503),
    }
    totals = run(step, source, destination, cids)
    assert (totals.blobs_completed, len(totals.failed)) == (1, 2)


def test_a_second_transfer_of_some_counts_the_others_that_have_arrived(
    step: Step, source: FakePds, destination: FakePds
) -> None:
    cids = put(source, 5)
    of_an_older_manifest = BlobOutcome(source.put(b"deleted since"), Outcome.TRANSFERRED, size_bytes=13)
    step.registry.record(step.token, {}, [of_an_older_manifest])
    source.faults["getBlob"] = lambda request: breaks(request) if request.url.params["cid"] == str(cids[2]) else None
    first = run(step, source, destination, cids)
    del source.faults["getBlob"]
    again = RESOURCE.run_again(step, [cids[2]], cids, source.client, destination.client)
    assert [(row.blob_cid, row.is_there) for row in again] == [(cids[2], True)]
    progress = step.registry.get(step.token).progress_data
    assert first.blobs_completed == 4
    assert (progress["blobs_total"], progress["blobs_completed"], progress["failed_blobs"]) == (5, 5, [])
    assert progress["bytes_transferred"] == 5 * len(b"blob 0")
