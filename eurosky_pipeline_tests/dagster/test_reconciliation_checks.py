"""What the checks of the report say, and how loudly."""

from dagster import AssetCheckSeverity

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.orchestration.checks import every_blob_arrived, records_are_equal, sizes_are_as_referenced
from eurosky_pipeline.reconcile.reconcile import Reconciliation, Status
from eurosky_pipeline.reconcile.records import RecordComparison, RecordVerdict
from eurosky_pipeline.reconcile.verdicts import BlobVerdict, Tally, Verdict

WARN, ERROR = AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR
CID = cid_of(b"a", CODEC_RAW)


def tally(*rows: tuple[Verdict, int | None, int | None]) -> Tally:
    """Of blobs with a verdict, a size, and the size that a record claims."""
    found = Tally()
    for verdict, size_bytes, claimed_bytes in rows:
        found.add(BlobVerdict(CID, verdict, "why", size_bytes, "app.bsky.feed.post/x", claimed_bytes))
    return found


def of_blobs(found: Tally, error: str = "") -> Reconciliation:
    return Reconciliation(
        Status.COMPLETE,
        found,
        RecordComparison(),
        missing_count=0,
        recovered=0,
        still_missing=0,
        rounds=0,
        vouched_for=0,
        expected_blobs=9,
        imported_blobs=9,
        error=error,
    )


def of_records(*verdicts: RecordVerdict, **fields: object) -> RecordComparison:
    found = RecordComparison(**fields)
    for verdict in verdicts:
        found.counts[verdict] += 1
    return found


def numbers(check) -> dict[str, object]:
    return {name: value.value for name, value in check.metadata.items()}


def test_every_blob_matched_is_a_pass() -> None:
    check = every_blob_arrived(of_blobs(tally((Verdict.MATCHED, 1, 1), (Verdict.MATCHED, None, None))))
    assert check.passed
    assert check.description == "2 of 2 blobs matched"
    assert numbers(check)["matched"] == 2


def test_a_blob_that_cannot_be_had_is_a_warning() -> None:
    check = every_blob_arrived(of_blobs(tally((Verdict.MATCHED, 1, 1), (Verdict.MISSING_AT_SOURCE, None, 1))))
    assert (check.passed, check.severity) == (False, WARN)
    assert numbers(check)["missing_at_source"] == 1


def test_a_destination_that_did_not_tell_all_is_no_pass() -> None:
    check = every_blob_arrived(of_blobs(tally((Verdict.MATCHED, 1, 1)), error="it answered 502"))
    assert (check.passed, check.severity) == (False, WARN)
    assert numbers(check)["error"] == "it answered 502"


def test_equal_records_are_a_pass() -> None:
    check = records_are_equal(of_records(RecordVerdict.EQUAL, RecordVerdict.EQUAL))
    assert check.passed
    assert check.description == "2 of 2 records are equal"
    assert numbers(check) == {"equal": 2, "missing": 0, "differing": 0, "extra": 0, "is_active_at_destination": False}


def test_a_record_that_is_not_as_imported_is_an_error() -> None:
    for verdict in (RecordVerdict.MISSING, RecordVerdict.DIFFERING, RecordVerdict.EXTRA):
        check = records_are_equal(of_records(RecordVerdict.EQUAL, verdict))
        assert (check.passed, check.severity) == (False, ERROR), verdict


def test_in_an_active_account_the_owner_may_have_done_it() -> None:
    for verdict in (RecordVerdict.MISSING, RecordVerdict.DIFFERING):
        check = records_are_equal(of_records(verdict, is_active=True))
        assert (check.passed, check.severity) == (False, WARN), verdict
    assert records_are_equal(of_records(RecordVerdict.EXTRA, is_active=True)).passed


def test_a_repository_that_is_not_whole_is_an_error() -> None:
    check = records_are_equal(of_records(error="it is not whole"))
    assert (check.passed, check.severity, check.description) == (False, ERROR, "`it is not whole`")


def test_records_that_could_not_be_compared_are_a_warning() -> None:
    check = records_are_equal(of_records(is_compared=False, error="it answered 502"))
    assert (check.passed, check.severity) == (False, WARN)
    assert numbers(check)["error"] == "it answered 502"


def test_sizes_as_records_say_are_a_pass() -> None:
    check = sizes_are_as_referenced(of_blobs(tally((Verdict.MATCHED, 7, 7), (Verdict.MATCHED, 7, None))))
    assert check.passed
    assert numbers(check) == {"compared": 1, "other": 0}


def test_a_size_that_a_record_has_wrong_is_a_warning_with_the_blobs_name() -> None:
    check = sizes_are_as_referenced(of_blobs(tally((Verdict.MATCHED, 7, 7), (Verdict.MATCHED, 7, 8))))
    assert (check.passed, check.severity) == (False, WARN)
    assert check.description == "1 of 2 sizes are as records say"
    assert numbers(check) == {"compared": 2, "other": 1, "named": [str(CID)]}
