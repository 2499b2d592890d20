"""All blobs of a manifest: progress and ledger, written together, every so many blobs."""

from __future__ import annotations

import threading

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.errors import FatalError, StoppedError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.transfer.blobs import GONE_AFTER, TransferTotals, transfer_blobs
from eurosky_pipeline.transfer.plan import TransferPlan
from eurosky_pipeline.xrpc.errors import HostUnreachable, RateLimited

CIDS = [cid_of(str(n).encode(), CODEC_RAW) for n in range(25)]
PLAN = TransferPlan(CIDS)


@pytest.fixture
def token(registry: Registry) -> str:
    return registry.add(NewMigration("did:plc:" + "a" * 24, "https://a.example", "https://b.example"), {}).token


def arrived(cid: Cid) -> BlobOutcome:
    return BlobOutcome(cid, Outcome.TRANSFERRED, size_bytes=10, mime_type="image/png")


def run(registry: Registry, token: str, copy=arrived, plan=PLAN, **changes: object) -> TransferTotals:
    arguments = {"workers": 5, "update_interval": 10, "stop": threading.Event(), **changes}
    return transfer_blobs(plan, copy, registry, token, **arguments)


def test_progress_is_written_every_tenth_blob_and_at_the_end(registry: Registry, token: str) -> None:
    written: list[int] = []

    def look(*_: object) -> None:
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
        run(registry, token, copy, on_settled=lambda *_: settled.release())
    done = registry.get(token).progress_data["blobs_completed"]
    assert 8 <= done < 25
    assert len(registry.outcomes(token)) == done


def test_an_interruption_in_the_callers_thread_stops_the_workers_and_keeps_the_books(
    registry: Registry, token: str
) -> None:
    stop = threading.Event()

    def interrupt(totals: TransferTotals, _: BlobOutcome) -> None:
        if totals.blobs_settled == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(registry, token, stop=stop, on_settled=interrupt)
    assert stop.is_set()
    done = registry.get(token).progress_data["blobs_completed"]
    assert 13 <= done == len(registry.outcomes(token)) <= 25


def test_a_blob_that_arrives_while_another_one_ends_the_transfer_is_written_down(registry, token) -> None:
    refused = threading.Event()

    stop = threading.Event()

    def copy(cid: Cid) -> BlobOutcome:
        if cid == CIDS[0]:
            refused.set()
            raise RateLimited("come again tomorrow", retry_after_s=86_400)
        refused.wait(5)
        if stop.wait(0.2):  # an upload that is cut has used up as much of the limit as a whole one
            raise StoppedError("cut")
        return arrived(cid)

    with pytest.raises(RateLimited):
        run(registry, token, copy, stop=stop)
    written = {row.blob_cid for row in registry.outcomes(token)}
    assert written >= set(CIDS[1:5])
    assert registry.get(token).progress_data["blobs_completed"] == len(written) < 25


def test_what_was_there_before_counts_in_the_totals_and_what_was_found_is_written(registry, token) -> None:
    found = BlobOutcome(cid_of(b"found", CODEC_RAW), Outcome.ALREADY_THERE, size_bytes=99)
    totals = run(registry, token, plan=TransferPlan(CIDS, 3, 30, (found,)))
    assert (totals.blobs_total, totals.blobs_completed, totals.bytes_transferred) == (29, 29, 280)
    assert registry.get(token).progress_data["blobs_total"] == 29
    assert found in registry.outcomes(token)


def test_a_plan_with_nothing_to_move_is_recorded_too(registry: Registry, token: str) -> None:
    totals = run(registry, token, plan=TransferPlan([], 7, 70))
    assert (totals.blobs_total, totals.blobs_completed) == (7, 7)
    assert registry.get(token).progress_data["bytes_transferred"] == 70
    assert registry.get(token).progress_data["failed_blobs"] == []


def unreachable(cid: Cid) -> BlobOutcome:
    return BlobOutcome(
        cid, Outcome.FAILED, error_class="transient", error_code="host_unreachable", error_text="new.example is gone"
    )


def test_a_host_that_is_gone_ends_the_transfer_instead_of_failing_every_blob(registry: Registry, token: str) -> None:
    with pytest.raises(HostUnreachable, match=r"10 blobs in a row .* new\.example is gone"):
        run(registry, token, unreachable, workers=1)
    assert len(registry.outcomes(token)) <= GONE_AFTER + 3


def test_failures_with_successes_between_them_are_the_blobs_own(registry: Registry, token: str) -> None:
    totals = run(
        registry,
        token,
        lambda cid: arrived(cid) if cid == CIDS[9] else unreachable(cid),
        workers=1,
        plan=TransferPlan(CIDS[:19]),
    )
    assert (totals.blobs_completed, len(totals.failed)) == (1, 18)


def test_a_source_that_fails_blob_after_blob_is_not_gone(registry: Registry, token: str) -> None:
    def broken(cid: Cid) -> BlobOutcome:
        return BlobOutcome(cid, Outcome.FAILED, error_class="transient", error_code="server_fault", download_s=1.0)

    assert len(run(registry, token, broken).failed) == 25


def test_a_destination_that_fails_blob_after_blob_is(registry: Registry, token: str) -> None:
    def broken(cid: Cid) -> BlobOutcome:
        return BlobOutcome(cid, Outcome.FAILED, error_class="transient", error_code="server_fault", upload_s=1.0)

    with pytest.raises(HostUnreachable) as caught:
        run(registry, token, broken)
    assert caught.value.code == "server_fault"


def test_blobs_that_the_destination_never_takes_do_not_mean_that_it_is_gone(registry: Registry, token: str) -> None:
    def refused(cid: Cid) -> BlobOutcome:
        return BlobOutcome(cid, Outcome.TOO_LARGE, error_class="permanent", error_code="too_large", upload_s=1.0)

    assert len(run(registry, token, refused).failed) == 25


def test_how_many_there_are_is_known_before_the_first_has_arrived(registry: Registry, token: str) -> None:
    totals: list[object] = []

    def copy(cid: Cid) -> BlobOutcome:
        totals.append(registry.get(token).progress_data.get("blobs_total"))
        return arrived(cid)

    run(registry, token, copy)
    assert set(totals) == {25}


def test_a_long_list_of_failed_blobs_is_not_written_with_every_update() -> None:
    totals = TransferTotals(5000)
    written = 0
    for number in range(3000):
        totals.count(BlobOutcome(cid_of(str(number).encode(), CODEC_RAW), Outcome.MISSING_AT_SOURCE))
        if number % 10 == 9:
            written += "failed_blobs" in totals.as_progress()
    assert 100 <= written <= 115
    assert len(totals.as_progress(is_last=True)["failed_blobs"]) == 3000
