"""The verdict: every blob in exactly one class, and a status that counts cannot fake."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.reconcile.reconcile import NO_VERDICT
from eurosky_pipeline.reconcile.records import RecordComparison, RecordVerdict
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.fake_pds import json_answer
from eurosky_pipeline_tests.unit.judging import (
    AFTER,
    DATA_A,
    DATA_B,
    DATA_C,
    ROOT,
    A,
    B,
    C,
    Judge,
    announcing,
    judge_in,
    many,
    outcome,
    row,
    server,
)


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return judge_in(tmp_path)


# What is true of a blob


def test_all_that_the_destination_gives_out_is_complete(judge: Judge) -> None:
    done = judge(server(DATA_A, DATA_B), [row(A), row(B)], [outcome(A, Outcome.TRANSFERRED)])
    assert done.result.status == "complete"
    assert {line["verdict"] for line in done.rows.values()} == {"matched"}
    assert done.result.as_progress()["failed_blobs"] == []
    assert done.fetched == []


def test_no_blobs_at_all_is_skipped(judge: Judge) -> None:
    assert judge(server(), []).result.status == "skipped"


@pytest.mark.parametrize("missing", [[], [str(A)]], ids=["not listed as missing", "listed as missing"])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Outcome.MISSING_AT_SOURCE, "missing_at_source"),
        (Outcome.CORRUPT_AT_SOURCE, "differing"),
        (Outcome.TOO_LARGE, "missing_at_destination"),
        (Outcome.TAKEN_DOWN, "missing_at_destination"),
        (Outcome.FAILED, "missing_at_destination"),
        (Outcome.TRANSFERRED, "missing_at_destination"),
        (None, "missing_at_destination"),
    ],
)
def test_what_the_destination_does_not_give_out_is_named_whether_it_lists_it_or_not(
    judge: Judge, kind: Outcome | None, expected: str, missing: list[str]
) -> None:
    done = judge(server(missing=missing), [row(A)], [outcome(A, kind)] if kind else [])
    assert done.verdict(A)[0] == expected
    assert done.verdict(A)[1]
    assert (done.result.status, done.result.missing_count, done.result.still_missing) == ("partial", 1, 1)
    assert done.result.as_progress()["failed_blobs"] == [str(A)]
    assert done.rows[str(A)]["first_record"] == "app.bsky.feed.post/x"


def test_what_it_lists_as_missing_is_not_matched_though_it_gives_it_out(judge: Judge) -> None:
    done = judge(server(DATA_A, missing=[str(A)]), [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert done.verdict(A)[0] == "missing_at_destination"


def test_a_blob_that_no_imported_record_references_says_so(judge: Judge) -> None:
    done = judge(server(), [row(A, is_referenced=False)], [outcome(A, Outcome.TRANSFERRED)])
    assert "no record of the imported repository references it" in done.verdict(A)[1]


def test_a_blob_that_was_there_before_is_matched_without_a_ledger_row(judge: Judge) -> None:
    assert judge(server(DATA_A), [row(A)]).verdict(A) == ("matched", "")


def test_what_is_there_though_the_ledger_says_otherwise_is_told_so_that_the_ledger_can_be_put_right(
    judge: Judge,
) -> None:
    """The answer to an upload was lost, or nobody ever wrote one down."""
    ledger = [outcome(A, Outcome.FAILED), outcome(B, Outcome.TRANSFERRED)]
    done = judge(server(DATA_A, DATA_B, DATA_C), [row(A), row(B), row(C)], ledger)
    assert [(one.blob_cid, one.outcome) for one in sorted(done.unrecorded, key=lambda one: one.blob_cid)] == sorted(
        [(A, Outcome.ALREADY_THERE), (C, Outcome.ALREADY_THERE)]
    )


def test_each_blob_gets_the_verdict_of_its_own_ledger_row(judge: Judge) -> None:
    blobs = many(40)
    kinds = [Outcome.MISSING_AT_SOURCE, Outcome.CORRUPT_AT_SOURCE, Outcome.FAILED]
    ledger = [outcome(cid, kinds[n % 3], f"of {cid}") for n, cid in enumerate(blobs) if n % 4]
    strangers = [outcome(cid_of(b"%d" % n, CODEC_RAW), Outcome.TRANSFERRED) for n in range(80)]
    done = judge(server(), [row(cid) for cid in blobs], ledger + strangers)
    assert len(done.rows) == 40
    for entry in ledger:
        assert done.verdict(entry.blob_cid)[1] == entry.error_text


@pytest.mark.parametrize(("kind", "expected"), [(Outcome.TRANSFERRED, "matched"), (Outcome.FAILED, "error")])
def test_where_the_destination_does_not_tell_the_ledger_decides(judge: Judge, kind: Outcome, expected: str) -> None:
    destination = server()
    destination.faults["getBlob"] = lambda _: json_answer({}, 500)
    done = judge(destination, [row(A)], [outcome(A, kind)])
    assert done.verdict(A)[0] == expected
    assert done.fetched == ([] if expected == "matched" else [[A]])  # what arrived is not sent again on a doubt


def test_a_blob_of_another_size_than_was_sent_is_differing(judge: Judge) -> None:
    destination = server(DATA_A)
    destination.faults["getBlob"] = announcing(9)
    done = judge(destination, [row(A, size_bytes=7)], [outcome(A, Outcome.TRANSFERRED, size_bytes=7)])
    assert done.verdict(A) == ("differing", "7 bytes were sent, and the destination gives out 9")


def test_of_two_sizes_that_the_destination_announces_the_later_one_counts(judge: Judge) -> None:
    destination = server(DATA_A, missing=[str(A)])
    destination.faults["getBlob"] = announcing(5)

    def again(_: list[Cid]) -> list[BlobOutcome]:
        destination.missing.clear()
        destination.faults["getBlob"] = announcing(9)
        return [outcome(A, Outcome.TRANSFERRED, at=AFTER, size_bytes=9)]

    assert judge(destination, [row(A, size_bytes=7)], [], again).verdict(A) == ("matched", "")


# What records say of sizes


@pytest.mark.parametrize(
    ("claimed", "announced", "ledger", "expected"),
    [
        (7, 7, None, (1, 0)),
        (8, 7, None, (1, 1)),
        (None, 7, None, (0, 0)),
        (7, 0, None, (0, 0)),
        (8, 7, outcome(A, Outcome.ALREADY_THERE, size_bytes=8), (1, 1)),
        (8, 7, outcome(A, Outcome.TRANSFERRED, size_bytes=7), (1, 1)),
        (7, 7, outcome(A, Outcome.TRANSFERRED, size_bytes=7), (1, 0)),
    ],
    ids=["as claimed", "other", "no claim", "not announced", "other, there before", "other than sent", "as sent"],
)
def test_a_size_is_compared_with_what_a_record_says_where_both_are_known(
    judge: Judge, claimed: int | None, announced: int, ledger: BlobOutcome | None, expected: tuple[int, int]
) -> None:
    destination = server(DATA_A)
    destination.faults["getBlob"] = announcing(announced)
    done = judge(destination, [row(A, size_bytes=claimed)], [ledger] if ledger else [])
    assert (done.result.tally.sizes_compared, done.result.tally.sizes_other) == expected
    assert [found.blob_cid for found in done.result.tally.sizes_shown] == ([A] if expected[1] else [])
    assert done.result.status == "complete"  # a record's mistake is moved as it is
    assert done.rows[str(A)]["claimed_bytes"] == ("" if claimed is None else str(claimed))


# The account as a whole


def test_a_destination_that_does_not_stand_at_the_imported_repository_is_no_witness(judge: Judge) -> None:
    destination = server(DATA_A)
    destination.commit = str(cid_of(b"another commit"))
    with pytest.raises(FatalError, match="does not stand at the imported repository") as caught:
        judge(destination, [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert caught.value.code == "destination_changed"


def test_a_destination_that_is_written_to_meanwhile_is_no_witness_either(judge: Judge) -> None:
    destination = server(DATA_A)

    def answer(_: httpx.Request) -> None:
        destination.commit = str(cid_of(b"another commit"))

    destination.faults["listMissingBlobs"] = answer
    with pytest.raises(FatalError, match="does not stand at the imported repository"):
        judge(destination, [row(A)])


def test_an_active_destination_may_have_moved_on(judge: Judge) -> None:
    destination = server(DATA_A, is_active=True)
    destination.commit = str(cid_of(b"a newer commit"))
    assert judge(destination, [row(A)]).result.status == "complete"


def test_the_destinations_own_counts_are_shown_and_decide_nothing(judge: Judge) -> None:
    destination = server()
    counts = {"activated": False, "repoCommit": str(ROOT), "expectedBlobs": 1, "importedBlobs": 1}
    destination.faults["checkAccountStatus"] = lambda _: json_answer(counts)
    result = judge(destination, [row(A)]).result
    assert (result.expected_blobs, result.imported_blobs, result.status) == (1, 1, "partial")


def test_a_lost_record_keeps_the_whole_from_being_complete(judge: Judge) -> None:
    records = RecordComparison()
    records.counts[RecordVerdict.MISSING] = 1
    result = judge(server(DATA_A), [row(A)], records=records).result
    assert result.status == "partial"
    assert result.as_progress()["reconciliation_records_missing"] == 1
    assert judge(server(), [], records=records).result.status == "partial"


def test_records_that_could_not_be_compared_are_an_error_of_the_whole(judge: Judge) -> None:
    limit = RateLimited("slowly", retry_after_s=4000)
    records = RecordComparison(is_compared=False, error="slowly", rate_limit=limit)
    done = judge(server(DATA_A), [row(A)], records=records)
    assert (done.result.status, done.result.error, done.result.rate_limit) == ("error", "slowly", limit)
    assert done.result.as_progress()["reconciliation_records_equal"] is None
    assert done.result.missing_count == 0  # of blobs all is known


def test_a_verdict_can_be_taken_back_whole(judge: Judge) -> None:
    told = {key for key in judge(server(), []).result.as_progress() if key.startswith("reconciliation_")}
    assert told == NO_VERDICT.keys()


def test_a_body_that_is_given_out_is_not_read(judge: Judge) -> None:
    destination = server()
    read: list[int] = []

    def endless():
        yield b"x"
        read.append(1)
        yield b"x"

    def answer(request: httpx.Request) -> httpx.Response:
        return json_answer({}, 405) if request.method == "HEAD" else httpx.Response(200, content=endless())

    destination.faults["getBlob"] = answer
    assert judge(destination, [row(A)]).verdict(A)[0] == "matched"
    assert read == []
