"""The verdict: every blob in exactly one class, a search that ends, and a status that counts cannot fake."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.errors import FatalError, StoppedError
from eurosky_pipeline.reconcile.books import Books
from eurosky_pipeline.reconcile.reconcile import NO_VERDICT, Reconciliation, reconcile
from eurosky_pipeline.reconcile.records import RecordComparison, RecordVerdict
from eurosky_pipeline.reconcile.search import GONE_AFTER, MAX_FOREIGN, MAX_ROUNDS, BlobSearch
from eurosky_pipeline.reconcile.verdicts import Verdict
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.xrpc.errors import AuthError, HostUnreachable, RateLimited, RepoUnavailable
from eurosky_pipeline.xrpc.retry import RetryPolicy
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

DATA_A, DATA_B, DATA_C = b"a", b"b", b"c"
A, B, C = (cid_of(data, CODEC_RAW) for data in (DATA_A, DATA_B, DATA_C))
ROOT = cid_of(b"the imported commit")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEFORE, AFTER = NOW - timedelta(hours=1), NOW + timedelta(minutes=1)

Again = Callable[[list[Cid]], list[BlobOutcome]]


def server(*blobs: bytes, **fields: object) -> FakePds:
    """A destination that stands at the imported repository and has these blobs."""
    destination = FakePds("new.example", commit=str(ROOT), **fields)
    for data in blobs:
        destination.put(data)
    return destination


def row(cid: Cid, *, size_bytes: int | None = 1, is_referenced: bool = True) -> ManifestRow:
    return ManifestRow(cid, "image/png", size_bytes, is_referenced, False, True, 1, "app.bsky.feed.post/x")


def outcome(cid: Cid, kind: Outcome, text: str = "why", *, size_bytes: int = 1, at: datetime = BEFORE) -> BlobOutcome:
    arrived = kind in (Outcome.TRANSFERRED, Outcome.ALREADY_THERE)
    size_bytes = size_bytes if arrived else 0
    return BlobOutcome(cid, kind, size_bytes=size_bytes, error_text="" if arrived else text, ended_at=at)


@dataclass
class Judged:
    """What came out, with the rows of the report by CID, and what was asked to be fetched again."""

    result: Reconciliation
    rows: dict[str, dict[str, str]]
    fetched: list[list[Cid]] = field(default_factory=list)
    unrecorded: list[BlobOutcome] = field(default_factory=list)

    def verdict(self, cid: Cid) -> tuple[str, str]:
        return self.rows[str(cid)]["verdict"], self.rows[str(cid)]["reason"]


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Judged]:
    def judge(
        destination: FakePds,
        rows: Sequence[ManifestRow],
        ledger: Sequence[BlobOutcome] = (),
        again: Again = lambda _: [],
        *,
        records: RecordComparison | None = None,
        since: datetime | None = NOW,
        imported_at: datetime | None = None,
        retries: int = 0,
        on_looked: Callable[[], None] = lambda: None,
    ) -> Judged:
        fetched: list[list[Cid]] = []

        def copy_again(cids: list[Cid]) -> list[BlobOutcome]:
            fetched.append(cids)
            return again(cids)

        in_order = sorted(rows, key=lambda row: str(row.blob_cid))
        ledger = sorted(ledger, key=lambda outcome: str(outcome.blob_cid))
        search = BlobSearch(
            destination.client,
            "did:plc:x",
            Books(lambda: iter(in_order), lambda: iter(ledger), since=since, imported_at=imported_at),
            copy_again,
            workers=3,
            stop=threading.Event(),
            retry=RetryPolicy(retries, first_wait_s=0.01),
            on_looked=on_looked,
        )
        report = tmp_path / "report.csv"
        result = reconcile(search, ROOT, records or RecordComparison(), report)
        with report.open(newline="") as file:
            table = list(csv.DictReader(file))
        assert len(table) == len({line["blob_cid"] for line in table}) == result.tally.blobs
        return Judged(result, {line["blob_cid"]: line for line in table}, fetched, search.unrecorded)

    return judge


Judge = Callable[..., Judged]


def giving(destination: FakePds, data: bytes) -> BlobOutcome:
    """What a second try says that succeeds."""
    return outcome(destination.put(data), Outcome.TRANSFERRED, at=AFTER, size_bytes=len(data))


def many(count: int) -> dict[Cid, bytes]:
    return {cid_of(data, CODEC_RAW): data for data in (b"blob %d" % n for n in range(count))}


def announcing(size_bytes: int) -> Callable[[httpx.Request], httpx.Response | None]:
    empty: list[bytes] = []
    headers = {"content-length": str(size_bytes)}
    return lambda request: (
        httpx.Response(200, headers=headers, content=iter(empty)) if request.method == "HEAD" else None
    )


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


# Fetching again, until nothing changes


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
