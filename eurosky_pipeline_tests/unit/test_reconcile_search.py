"""The search for what is missing: fetched again until nothing changes, and always at an end."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.reconcile.search import MAX_FOREIGN, MAX_ROUNDS
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
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


def test_a_missing_blob_is_fetched_again_and_recovered(judge: Judge) -> None:
    destination = server(DATA_B, missing=[str(A)])

    def again(cids: list[Cid]) -> list[BlobOutcome]:
        destination.missing.clear()
        return [giving(destination, DATA_A)]

    done = judge(destination, [row(A), row(B)], [outcome(B, Outcome.TRANSFERRED)], again)
    result = done.result
    assert (result.status, result.missing_count, result.recovered, result.still_missing) == ("complete", 1, 1, 0)
    assert done.verdict(A) == ("matched", "")
    assert done.fetched == [[A]]


def test_rounds_go_on_as_long_as_each_recovers_something(judge: Judge) -> None:
    blobs = many(3)
    destination = server()

    def again(cids: list[Cid]) -> list[BlobOutcome]:
        first = giving(destination, blobs[cids[0]])
        return [first, *(outcome(cid, Outcome.FAILED, at=AFTER) for cid in cids[1:])]

    done = judge(destination, [row(cid) for cid in blobs], [], again)
    assert [len(cids) for cids in done.fetched] == [3, 2, 1]
    assert (done.result.status, done.result.recovered, done.result.rounds) == ("complete", 3, 3)


def test_there_are_no_more_rounds_than_a_few(judge: Judge) -> None:
    blobs = many(20)
    destination = server()
    done = judge(destination, [row(cid) for cid in blobs], [], lambda cids: [giving(destination, blobs[cids[0]])])
    assert len(done.fetched) == done.result.rounds == MAX_ROUNDS
    assert (done.result.recovered, done.result.still_missing) == (5, 15)


def test_a_second_try_that_says_yes_and_changes_nothing_is_no_recovery_and_the_last(judge: Judge) -> None:
    done = judge(server(), [row(A)], [], lambda cids: [outcome(cid, Outcome.TRANSFERRED, at=AFTER) for cid in cids])
    assert (done.result.status, done.result.recovered, done.result.still_missing) == ("partial", 0, 1)
    assert "does not give it out" in done.verdict(A)[1]
    assert done.fetched == [[A]]


def test_a_destination_whose_list_never_shrinks_gets_each_blob_once_more_and_no_more(judge: Judge) -> None:
    destination = server(missing=[str(A)])
    done = judge(destination, [row(A)], [], lambda _: [giving(destination, DATA_A)])
    assert done.fetched == [[A]]
    assert done.verdict(A)[0] == "missing_at_destination"
    assert done.result.status == "partial"


def test_a_destination_that_lists_other_blobs_each_time_comes_to_an_end(judge: Judge) -> None:
    destination = server(DATA_A)
    asked: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        rows = [{"cid": str(cid_of(b"%d %d" % (len(asked), n), CODEC_RAW)), "recordUri": "at://x"} for n in range(9)]
        return json_answer({"blobs": rows})

    destination.faults["listMissingBlobs"] = answer
    done = judge(destination, [row(A)], [], lambda cids: [outcome(cid, Outcome.FAILED) for cid in cids])
    assert len(done.fetched) <= MAX_ROUNDS
    assert done.verdict(A)[0] == "matched"
    assert len(done.rows) == 10


def test_of_blobs_that_only_the_destination_names_a_bounded_number_is_tried_and_told(judge: Judge) -> None:
    foreign = [cid_of(b"%d" % n, CODEC_RAW) for n in range(MAX_FOREIGN + 7)]
    destination = server(DATA_A)
    pages = [foreign[:1000], foreign[1000:], []]

    def answer(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("cursor", "0"))
        rows = [{"cid": str(cid), "recordUri": "at://x/y/z"} for cid in pages[page]]
        return json_answer({"blobs": rows, **({"cursor": str(page + 1)} if rows else {})})

    destination.faults["listMissingBlobs"] = answer
    done = judge(destination, [row(A)], [], lambda cids: [outcome(cid, Outcome.MISSING_AT_SOURCE) for cid in cids])
    assert [len(cids) for cids in done.fetched] == [MAX_FOREIGN]
    assert len(done.rows) == 1 + MAX_FOREIGN
    assert f"lists {MAX_FOREIGN + 7} blobs as missing that no imported record names" in done.result.error
    assert done.result.status == "error"


def test_a_blob_that_only_the_destination_names_is_in_the_report(judge: Judge) -> None:
    done = judge(server(DATA_A, missing=[str(B)]), [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert done.verdict(B)[0] == "missing_at_destination"
    assert done.fetched == [[B]]
    assert done.result.status == "partial"


FINAL = [Outcome.MISSING_AT_SOURCE, Outcome.TAKEN_DOWN, Outcome.TOO_LARGE, Outcome.CORRUPT_AT_SOURCE]


@pytest.mark.parametrize("kind", FINAL)
def test_what_this_run_has_found_out_is_not_tried_again(judge: Judge, kind: Outcome) -> None:
    done = judge(server(), [row(A), row(B)], [outcome(A, kind, at=AFTER), outcome(B, Outcome.FAILED, at=AFTER)])
    assert done.fetched == [[B]]
    assert done.verdict(A)[1] == "why"


@pytest.mark.parametrize("kind", FINAL)
def test_what_an_earlier_run_has_found_out_is_tried_again(judge: Judge, kind: Outcome) -> None:
    destination = server()
    done = judge(destination, [row(A)], [outcome(A, kind, at=BEFORE)], lambda _: [giving(destination, DATA_A)])
    assert done.fetched == [[A]]
    assert done.verdict(A)[0] == "matched"


@pytest.mark.parametrize("kind", FINAL)
def test_what_a_round_has_found_out_is_not_tried_in_the_next(judge: Judge, kind: Outcome) -> None:
    blobs = many(3)
    destination = server()

    def again(cids: list[Cid]) -> list[BlobOutcome]:
        return [giving(destination, blobs[cids[0]]), *(outcome(cid, kind, at=AFTER) for cid in cids[1:])]

    done = judge(destination, [row(cid) for cid in blobs], [], again)
    assert [len(cids) for cids in done.fetched] == [3]
    assert done.result.still_missing == 2


def test_a_blob_that_is_vouched_for_and_not_there_is_fetched_again_too(judge: Judge) -> None:
    destination = server()
    ledger = [outcome(A, Outcome.TRANSFERRED, at=AFTER)]
    done = judge(destination, [row(A)], ledger, lambda _: [giving(destination, DATA_A)], imported_at=NOW)
    assert done.fetched == [[A]]
    assert (done.result.missing_count, done.result.recovered) == (1, 1)


def test_people_are_told_of_each_blob_that_is_asked_for(judge: Judge) -> None:
    told: list[int] = []
    judge(server(DATA_A, DATA_B), [row(A), row(B)], on_looked=lambda: told.append(1))
    assert len(told) == 2
