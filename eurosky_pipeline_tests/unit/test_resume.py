"""What need not be sent again: two witnesses that must agree."""

from __future__ import annotations

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.resume import arrived_before
from eurosky_pipeline.xrpc.errors import AuthError
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

A, B = (BlobOutcome(cid_of(name, CODEC_RAW), Outcome.TRANSFERRED, size_bytes=1) for name in (b"a", b"b"))
LOST = BlobOutcome(cid_of(b"c", CODEC_RAW), Outcome.MISSING_AT_SOURCE)


def test_what_was_accepted_and_is_not_missing_has_arrived() -> None:
    assert arrived_before(FakePds().client, [A, B]) == [A, B]


def test_what_the_destination_misses_is_sent_again_whatever_the_ledger_says() -> None:
    assert arrived_before(FakePds(missing=[str(A.blob_cid)]).client, [A, B]) == [B]


def test_what_the_ledger_never_saw_arrive_is_sent_again_whatever_the_destination_says() -> None:
    assert arrived_before(FakePds().client, [A, LOST]) == [A]


def test_a_first_run_asks_nothing() -> None:
    destination = FakePds()
    assert arrived_before(destination.client, [LOST]) == []
    assert destination.asked == []


def test_a_destination_that_does_not_tell_gets_everything_again() -> None:
    destination = FakePds()
    destination.faults["listMissingBlobs"] = lambda _: json_answer({}, 501)
    assert arrived_before(destination.client, [A]) == []


def test_a_refused_session_is_raised() -> None:
    destination = FakePds()
    destination.faults["listMissingBlobs"] = lambda _: json_answer({"error": "AuthenticationRequired"}, 401)
    with pytest.raises(AuthError):
        arrived_before(destination.client, [A])
