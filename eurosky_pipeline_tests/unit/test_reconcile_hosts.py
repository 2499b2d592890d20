"""The verdict where a host does not answer, or asks for patience."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import FatalError, StoppedError
from eurosky_pipeline.reconcile.search import GONE_AFTER
from eurosky_pipeline.reconcile.verdicts import Verdict
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.xrpc.errors import AuthError, HostUnreachable, RateLimited, RepoUnavailable
from eurosky_pipeline_tests.fake_pds import json_answer
from eurosky_pipeline_tests.unit.judging import (
    AFTER,
    BEFORE,
    DATA_A,
    DATA_B,
    NOW,
    A,
    B,
    Judge,
    giving,
    judge_in,
    many,
    outcome,
    row,
    server,
)


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return judge_in(tmp_path)


# Hosts that do not answer


def test_a_list_that_cannot_be_had_is_an_error_in_the_report_and_each_blob_is_asked_for_all_the_same(
    judge: Judge,
) -> None:
    destination = server(DATA_A)
    destination.faults["listMissingBlobs"] = lambda _: json_answer({}, 502)
    done = judge(destination, [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    result, progress = done.result, done.result.as_progress()
    assert (result.status, result.missing_count, result.still_missing) == ("error", None, None)
    assert "new.example answered 502" in result.error
    assert done.verdict(A)[0] == "matched"
    assert (progress["reconciliation_status"], progress["reconciliation_still_missing"]) == ("error", None)
    assert "502" in progress["reconciliation_error"]


def test_without_a_list_the_ledger_is_not_enough(judge: Judge) -> None:
    destination = server()
    destination.faults["listMissingBlobs"] = destination.faults["getBlob"] = lambda _: json_answer({}, 502)
    done = judge(destination, [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert done.verdict(A) == ("error", "it was sent, and the destination does not tell whether it has it")


def test_a_server_that_knows_no_such_list_is_asked_for_each_blob(judge: Judge) -> None:
    destination = server(DATA_A)
    destination.faults["listMissingBlobs"] = lambda _: json_answer({"error": "MethodNotImplemented"}, 501)
    done = judge(destination, [row(A), row(B)], [])
    assert done.result.error == ""
    assert (done.verdict(A)[0], done.verdict(B)[0]) == ("matched", "missing_at_destination")


def test_a_list_is_asked_for_again_before_it_is_given_up(judge: Judge) -> None:
    destination = server(DATA_A)
    answers = iter([json_answer({}, 502), None])
    destination.faults["listMissingBlobs"] = lambda _: next(answers)
    assert judge(destination, [row(A)], retries=1).result.status == "complete"


def test_a_destination_that_is_gone_is_not_asked_for_every_blob(judge: Judge) -> None:
    destination = server()

    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    destination.faults["getBlob"] = broken
    done = judge(destination, [row(cid) for cid in many(200)])
    assert GONE_AFTER <= destination.asked.count("getBlob") <= GONE_AFTER + 10
    assert done.result.status == "error"
    assert "does not answer any more" in done.result.error
    assert done.result.tally.counts[Verdict.ERROR] == 200
    assert done.fetched == []


@pytest.mark.parametrize(
    "problem",
    [HostUnreachable("ten in a row"), RateLimited("slowly", retry_after_s=3), RepoUnavailable("the account is gone")],
    ids=lambda problem: problem.code,
)
def test_a_second_transfer_that_fails_whole_is_told_and_blocks_nothing(judge: Judge, problem: Exception) -> None:
    def again(_: list[Cid]) -> list[BlobOutcome]:
        raise problem

    ledger = [outcome(A, Outcome.FAILED), outcome(B, Outcome.TRANSFERRED, at=AFTER)]
    done = judge(server(DATA_B), [row(A), row(B)], ledger, again, imported_at=NOW)
    assert (done.result.status, done.result.error) == ("error", str(problem))
    assert (done.verdict(A)[0], done.verdict(B)[0]) == ("missing_at_destination", "matched")
    assert done.result.rate_limit is None


@pytest.mark.parametrize("problem", [AuthError("revoked"), StoppedError("asked to"), FatalError("disk", code="disk")])
def test_what_a_person_has_to_see_to_is_raised(judge: Judge, problem: Exception) -> None:
    def again(_: list[Cid]) -> list[BlobOutcome]:
        raise problem

    with pytest.raises(type(problem)):
        judge(server(), [row(A)], [], again)


def test_a_refused_session_is_raised(judge: Judge) -> None:
    destination = server()
    destination.faults["listMissingBlobs"] = lambda _: json_answer({"error": "AuthenticationRequired"}, 401)
    with pytest.raises(AuthError):
        judge(destination, [row(A)])


# Hosts that ask for patience


def limited(seconds: int) -> httpx.Response:
    return httpx.Response(429, headers={"retry-after": str(seconds)}, content=iter([b'{"error": "RateLimitExceeded"}']))


def test_a_limit_until_tomorrow_in_a_second_transfer_is_handed_on_once_all_is_written_down(judge: Judge) -> None:
    limit = RateLimited("1000 a day", retry_after_s=80_000)

    def again(_: list[Cid]) -> list[BlobOutcome]:
        raise limit

    vouched = outcome(B, Outcome.TRANSFERRED, at=AFTER)
    done = judge(server(DATA_B), [row(A), row(B)], [outcome(A, Outcome.FAILED), vouched], again, imported_at=NOW)
    assert done.result.rate_limit is limit
    assert (done.verdict(A)[0], done.verdict(B)[0]) == ("missing_at_destination", "matched")


def test_a_limit_upon_looking_is_handed_on_where_the_ledger_does_not_vouch(judge: Judge) -> None:
    destination = server(DATA_A)
    destination.faults["getBlob"] = lambda _: limited(4000)
    done = judge(destination, [row(A)], [outcome(A, Outcome.FAILED)], imported_at=NOW)
    assert done.result.rate_limit is not None
    assert done.result.rate_limit.retry_after_s == 4000
    assert done.fetched == []


def test_a_limit_upon_looking_is_no_circle_what_the_ledger_vouches_for_is_asked_for_last(judge: Judge) -> None:
    blobs = many(60)
    unsure = list(blobs)[30:35]
    destination = server(*blobs.values())
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        asked.append(request.url.params["cid"])
        return limited(4000) if len(asked) > 20 else None

    destination.faults["getBlob"] = answer
    ledger = [outcome(cid, Outcome.TRANSFERRED, at=AFTER, size_bytes=len(blobs[cid])) for cid in blobs]
    ledger = [replace(entry, outcome=Outcome.FAILED) if entry.blob_cid in unsure else entry for entry in ledger]
    done = judge(destination, [row(cid) for cid in blobs], ledger, imported_at=NOW)
    assert set(asked[:5]) == set(map(str, unsure))
    assert len(asked) < 30
    assert (done.result.status, done.result.rate_limit) == ("complete", None)
    assert done.result.vouched_for >= 60 - 20
    assert done.fetched == []


def test_a_blob_that_was_accepted_before_the_limit_is_not_told_to_be_missing(judge: Judge) -> None:
    destination = server()

    def again(_: list[Cid]) -> list[BlobOutcome]:
        destination.faults["getBlob"] = lambda _: limited(4000)
        return [giving(destination, DATA_A)]

    done = judge(destination, [row(A)], [], again, imported_at=NOW)
    assert done.verdict(A) == ("matched", "")
    assert (done.result.vouched_for, done.result.still_missing) == (1, None)
    assert done.result.rate_limit is not None


def test_a_limit_that_keeps_a_listed_blob_from_being_fetched_is_handed_on(judge: Judge) -> None:
    destination = server(DATA_A, missing=[str(A)])
    destination.faults["getBlob"] = lambda _: limited(4000)
    done = judge(destination, [row(A)], [outcome(A, Outcome.TRANSFERRED, at=AFTER)], imported_at=NOW)
    assert done.result.rate_limit is not None
    assert done.verdict(A)[0] == "missing_at_destination"


def test_what_this_run_knows_not_to_be_had_is_no_reason_to_wait(judge: Judge) -> None:
    destination = server()
    destination.faults["getBlob"] = lambda _: limited(4000)
    done = judge(destination, [row(A)], [outcome(A, Outcome.MISSING_AT_SOURCE, at=AFTER)])
    assert done.verdict(A) == ("missing_at_source", "why")
    assert done.result.rate_limit is None


def test_what_arrived_before_the_import_is_not_vouched_for(judge: Judge) -> None:
    destination = server()
    destination.faults["getBlob"] = lambda _: limited(4000)
    done = judge(destination, [row(A)], [outcome(A, Outcome.TRANSFERRED, at=BEFORE)], imported_at=NOW)
    assert done.result.vouched_for == 0
    assert done.result.rate_limit is not None
