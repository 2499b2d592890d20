"""What has to be moved: the destination's list, the ledger and the destination itself, and whose word counts when."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.transfer.plan import TransferPlan, plan_transfer
from eurosky_pipeline.xrpc.errors import AuthError, RateLimited, ServerFault
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

IMPORTED_AT = datetime(2026, 1, 27, 10, tzinfo=UTC)
A, B, C = (cid_of(data, CODEC_RAW) for data in (b"a", b"b", b"c"))


@pytest.fixture
def destination() -> FakePds:
    return FakePds("new.example")


def plan(destination: FakePds, *ledger: BlobOutcome, cids: tuple[Cid, ...] = (A, B, C), **changes) -> TransferPlan:
    arguments = {"imported_at": IMPORTED_AT, "workers": 3, "stop": threading.Event(), **changes}
    rows = [ManifestRow(cid, size_bytes=1, mime_type="image/png", is_referenced=True) for cid in cids]
    return plan_transfer(destination.client, "did:plc:x", rows, ledger, **arguments)


def arrived(
    cid: Cid, *, after: timedelta = timedelta(minutes=1), outcome: Outcome = Outcome.TRANSFERRED
) -> BlobOutcome:
    return BlobOutcome(cid, outcome, size_bytes=1, ended_at=IMPORTED_AT + after)


def test_at_first_everything_is_missing_and_nothing_else_is_asked(destination: FakePds) -> None:
    destination.missing = [str(cid) for cid in (C, A, B)]
    assert plan(destination) == TransferPlan(sorted([A, B, C]), bytes_to_move=3)
    assert destination.asked == ["listMissingBlobs"]


def test_what_the_ledger_saw_arrive_and_nobody_misses_is_not_asked_for_again(destination: FakePds) -> None:
    destination.missing = [str(B), str(C)]
    assert plan(destination, arrived(A)) == TransferPlan(sorted([B, C]), 1, 1, bytes_to_move=2)
    assert destination.asked == ["listMissingBlobs"]


def test_what_the_destination_misses_is_moved_whatever_the_ledger_says(destination: FakePds) -> None:
    destination.missing = [str(A)]
    assert plan(destination, arrived(A), cids=(A,)).to_move == [A]


def test_what_arrived_before_the_import_counts_only_if_the_destination_gives_it_out(destination: FakePds) -> None:
    destination.put(b"a")
    early = timedelta(minutes=-1)
    found = plan(destination, arrived(A, after=early), arrived(B, after=early), cids=(A, B))
    assert found == TransferPlan([B], 1, 1, bytes_to_move=1)


def test_a_ledger_without_a_known_import_is_asked_about(destination: FakePds) -> None:
    assert plan(destination, arrived(A), cids=(A,), imported_at=None).to_move == [A]


def test_what_somebody_else_has_brought_is_named_as_already_there(destination: FakePds) -> None:
    destination.put(b"a")
    destination.missing = [str(B)]
    found = plan(destination, cids=(A, B))
    assert found.to_move == [B]
    assert [(row.blob_cid, row.outcome, row.size_bytes, row.mime_type) for row in found.found] == [
        (A, Outcome.ALREADY_THERE, 1, "image/png")
    ]


def test_already_there_counts_as_arrived_and_not_as_bytes_that_were_moved(destination: FakePds) -> None:
    found = plan(destination, arrived(A, outcome=Outcome.ALREADY_THERE), cids=(A,))
    assert (found.arrived_before, found.arrived_bytes) == (1, 0)


def test_what_a_list_does_not_count_and_the_destination_does_not_give_out_is_moved(destination: FakePds) -> None:
    """Some servers leave blobs of legacy references out of their list."""
    assert plan(destination, cids=(A,)).to_move == [A]


def test_what_failed_and_is_there_nevertheless_is_named_as_already_there(destination: FakePds) -> None:
    destination.put(b"a")
    found = plan(destination, BlobOutcome(A, Outcome.FAILED), cids=(A,))
    assert (found.arrived_before, [row.outcome for row in found.found]) == (0, [Outcome.ALREADY_THERE])


def test_what_the_destination_does_not_tell_is_moved(destination: FakePds) -> None:
    destination.faults["getBlob"] = lambda _: json_answer({}, 500)
    assert plan(destination, arrived(A, after=timedelta(minutes=-1)), cids=(A, B)).to_move == sorted([A, B])


def test_a_failed_blob_is_tried_again(destination: FakePds) -> None:
    assert plan(destination, BlobOutcome(A, Outcome.FAILED), cids=(A,)).to_move == [A]


def test_a_destination_without_such_a_list_is_asked_for_what_the_ledger_has(destination: FakePds) -> None:
    destination.put(b"a")
    destination.faults["listMissingBlobs"] = lambda _: json_answer({"error": "MethodNotImplemented"}, 501)
    assert plan(destination, arrived(A), arrived(B)) == TransferPlan(sorted([B, C]), 1, 1, bytes_to_move=2)


def test_what_may_be_there_is_not_sent_again_since_the_destination_limits_questions(destination: FakePds) -> None:
    destination.faults["getBlob"] = lambda _: json_answer({"error": "RateLimitExceeded"}, 429)
    with pytest.raises(RateLimited):
        plan(destination, arrived(A, after=timedelta(minutes=-1)), cids=(A,))


def test_a_destination_that_fails_or_refuses_is_told(destination: FakePds) -> None:
    destination.faults["listMissingBlobs"] = lambda _: json_answer({}, 503)
    with pytest.raises(ServerFault):
        plan(destination)
    destination.faults["listMissingBlobs"] = lambda _: json_answer({"error": "AuthFactorTokenRequired"}, 401)
    with pytest.raises(AuthError):
        plan(destination)
