"""What need not be sent again: two witnesses that must agree."""

from __future__ import annotations

import threading

import pytest

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.resume import arrived_before
from eurosky_pipeline.xrpc.errors import AuthError
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer


@pytest.fixture
def destination() -> FakePds:
    return FakePds("new.example")


def arrived(destination: FakePds, data: bytes) -> BlobOutcome:
    return BlobOutcome(destination.put(data), Outcome.TRANSFERRED, size_bytes=len(data))


def look(destination: FakePds, *ledger: BlobOutcome) -> list[BlobOutcome]:
    return arrived_before(destination.client, "did:plc:x", ledger, workers=3, stop=threading.Event())


def test_what_was_accepted_and_is_given_out_has_arrived(destination: FakePds) -> None:
    a, b = arrived(destination, b"a"), arrived(destination, b"b")
    assert look(destination, a, b) == [a, b]


def test_what_the_destination_does_not_give_out_is_sent_again_though_it_lists_nothing_as_missing(
    destination: FakePds,
) -> None:
    a, b = arrived(destination, b"a"), arrived(destination, b"b")
    del destination.blobs[str(a.blob_cid)]
    assert look(destination, a, b) == [b]


def test_what_the_ledger_never_saw_arrive_is_sent_again_though_the_destination_has_it(destination: FakePds) -> None:
    lost = BlobOutcome(destination.put(b"c"), Outcome.FAILED)
    assert look(destination, lost) == []
    assert destination.asked == []


def test_a_server_that_does_not_know_head_is_asked_otherwise(destination: FakePds) -> None:
    a = arrived(destination, b"a")
    gone = BlobOutcome(cid_of(b"gone"), Outcome.TRANSFERRED)
    destination.faults["getBlob"] = lambda request: json_answer({}, 405) if request.method == "HEAD" else None
    assert look(destination, a, gone) == [a]


def test_a_destination_that_does_not_tell_gets_everything_again(destination: FakePds) -> None:
    a = arrived(destination, b"a")
    destination.faults["getBlob"] = lambda _: json_answer({}, 500)
    assert look(destination, a) == []


def test_a_refused_session_is_raised(destination: FakePds) -> None:
    a = arrived(destination, b"a")
    destination.faults["getBlob"] = lambda _: json_answer({"error": "AuthFactorTokenRequired"}, 401)
    with pytest.raises(AuthError):
        look(destination, a)
