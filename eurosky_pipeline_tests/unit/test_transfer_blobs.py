"""All blobs of a manifest: progress and ledger, written together, every so many blobs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.blobs import TransferTotals, transfer_blobs

CIDS = [cid_of(str(n).encode(), CODEC_RAW) for n in range(25)]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    return open_registry(load_settings())


@pytest.fixture
def token(registry: Registry) -> str:
    return registry.add(NewMigration("did:plc:" + "a" * 24, "https://a.example", "https://b.example"), {}).token


def arrived(cid: Cid) -> BlobOutcome:
    return BlobOutcome(cid, Outcome.TRANSFERRED, size_bytes=10, mime_type="image/png")


def run(registry: Registry, token: str, copy=arrived, **changes: object) -> TransferTotals:
    arguments = {"workers": 5, "update_interval": 10, "stop": threading.Event(), **changes}
    return transfer_blobs(CIDS, copy, registry, token, **arguments)


def test_progress_is_written_every_tenth_blob_and_at_the_end(registry: Registry, token: str) -> None:
    written: list[int] = []

    def look(_: TransferTotals) -> None:
        written.append(registry.get(token).progress_data.get("blobs_completed", 0))

    totals = run(registry, token, on_settled=look)
    assert written == [0] * 9 + [10] * 10 + [20] * 6
    assert totals.blobs_completed == registry.get(token).progress_data["blobs_completed"] == 25
    assert len(registry.outcomes(token)) == 25


def test_a_failed_blob_is_recorded_and_the_rest_goes_on(registry: Registry, token: str) -> None:
    def copy(cid: Cid) -> BlobOutcome:
        if cid == CIDS[7]:
            return BlobOutcome(cid, Outcome.MISSING_AT_SOURCE, error_code="missing_at_source", error_text="gone")
        return arrived(cid)

    totals = run(registry, token, copy)
    progress = registry.get(token).progress_data
    assert (totals.blobs_completed, totals.blobs_settled, totals.blobs_total) == (24, 25, 25)
    assert progress["failed_blobs"] == [str(CIDS[7])]
    assert progress["bytes_transferred"] == 240
    row = next(row for row in registry.outcomes(token) if row.blob_cid == CIDS[7])
    assert (row.outcome, row.error_text) == ("missing_at_source", "gone")


def test_a_fatal_error_writes_down_what_was_settled_before_it(registry: Registry, token: str) -> None:
    settled = threading.Semaphore(0)

    def copy(cid: Cid) -> BlobOutcome:
        if cid == CIDS[12]:
            for _ in range(8):
                settled.acquire(timeout=5)
            raise FatalError("the session was refused")
        return arrived(cid)

    with pytest.raises(FatalError, match="refused"):
        run(registry, token, copy, on_settled=lambda _: settled.release())
    done = registry.get(token).progress_data["blobs_completed"]
    assert 8 <= done < 25
    assert len(registry.outcomes(token)) == done


def test_an_interruption_in_the_callers_thread_stops_the_workers_and_keeps_the_books(
    registry: Registry, token: str
) -> None:
    stop = threading.Event()

    def interrupt(totals: TransferTotals) -> None:
        if totals.blobs_settled == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(registry, token, stop=stop, on_settled=interrupt)
    assert stop.is_set()
    assert registry.get(token).progress_data["blobs_completed"] == len(registry.outcomes(token)) == 13


def test_blobs_settled_before_count_in_the_totals(registry: Registry, token: str) -> None:
    lost = BlobOutcome(cid_of(b"lost", CODEC_RAW), Outcome.MISSING_AT_SOURCE)
    totals = run(registry, token, settled_before=[arrived(cid_of(b"x", CODEC_RAW)), lost])
    assert (totals.blobs_total, totals.blobs_completed, len(totals.failed)) == (27, 26, 1)
    assert registry.get(token).progress_data["blobs_total"] == 27
