"""The verdict: every blob in exactly one class, and a status that counts cannot fake."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.reconcile.reconcile import Reconciliation, reconcile, write_report
from eurosky_pipeline.reconcile.source_moved import describe_source_move
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.xrpc.errors import AuthError
from eurosky_pipeline_tests.builders import make_posts, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

A, B = (cid_of(name, CODEC_RAW) for name in (b"a", b"b"))


def row(cid: Cid, *, is_legacy: bool = False, is_referenced: bool = True) -> ManifestRow:
    return ManifestRow(cid, "image/png", 10, is_referenced, is_legacy, True, 1, "app.bsky.feed.post/x")


def outcome(cid: Cid, kind: Outcome, text: str = "why") -> BlobOutcome:
    arrived = kind is Outcome.TRANSFERRED
    return BlobOutcome(cid, kind, size_bytes=10 if arrived else 0, error_text="" if arrived else text)


def judge(destination: FakePds, rows: list[ManifestRow], ledger: list[BlobOutcome], again=None) -> Reconciliation:
    return reconcile(destination.client, rows, ledger, again or (lambda cids: []))


def verdict(result: Reconciliation, cid: Cid) -> tuple[str, str]:
    (found,) = [v for v in result.verdicts if v.blob_cid == cid]
    return str(found.verdict), found.reason


def test_all_arrived_is_complete() -> None:
    result = judge(FakePds(), [row(A), row(B)], [outcome(A, Outcome.TRANSFERRED), outcome(B, Outcome.TRANSFERRED)])
    assert result.status == "complete"
    assert {str(v.verdict) for v in result.verdicts} == {"matched"}
    assert result.as_progress()["failed_blobs"] == []


def test_no_blobs_at_all_is_skipped() -> None:
    assert judge(FakePds(), [], []).status == "skipped"


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
def test_what_the_destination_misses_is_named_by_what_happened(kind: Outcome | None, expected: str) -> None:
    destination = FakePds(missing=[str(A)])
    result = judge(destination, [row(A)], [outcome(A, kind)] if kind else [])
    found, reason = verdict(result, A)
    assert found == expected
    assert reason
    assert (result.status, result.missing_count, result.still_missing) == ("partial", 1, 1)
    assert result.as_progress()["failed_blobs"] == [str(A)]


def test_a_missing_blob_is_tried_once_more_and_recovered() -> None:
    destination = FakePds(missing=[str(A)])

    def again(cids: list[Cid]) -> list[BlobOutcome]:
        destination.missing.clear()
        return [outcome(cid, Outcome.TRANSFERRED) for cid in cids]

    result = judge(destination, [row(A), row(B)], [outcome(B, Outcome.TRANSFERRED)], again)
    assert (result.status, result.missing_count, result.recovered, result.still_missing) == ("complete", 1, 1, 0)
    assert verdict(result, A) == ("matched", "")


def test_a_blob_that_only_the_destination_names_is_in_the_report() -> None:
    result = judge(FakePds(missing=[str(B)]), [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert verdict(result, B)[0] == "missing_at_destination"
    assert result.status == "partial"


def test_a_failed_legacy_blob_is_not_matched_because_the_list_leaves_it_out() -> None:
    result = judge(FakePds(), [row(A, is_legacy=True)], [outcome(A, Outcome.FAILED)])
    assert verdict(result, A) == ("error", "why")
    assert result.status == "partial"


def test_a_blob_that_was_there_before_is_matched_without_a_ledger_row() -> None:
    assert verdict(judge(FakePds(), [row(A)], []), A) == ("matched", "")
    assert verdict(judge(FakePds(), [row(A, is_referenced=False)], []), A)[0] == "error"


def test_a_destination_that_cannot_be_asked_is_an_error_in_the_report_and_not_an_exception() -> None:
    destination = FakePds("new.example")
    destination.faults["listMissingBlobs"] = lambda _: json_answer({}, 502)
    result = judge(destination, [row(A), row(B)], [outcome(A, Outcome.TRANSFERRED)])
    assert result.status == "error"
    assert "new.example answered 502" in result.error
    assert verdict(result, A) == ("matched", "")
    assert verdict(result, B)[0] == "error"
    assert result.as_progress()["reconciliation_status"] == "error"


def test_a_refused_session_is_raised() -> None:
    destination = FakePds()
    destination.faults["listMissingBlobs"] = lambda _: json_answer({"error": "AuthenticationRequired"}, 401)
    with pytest.raises(AuthError):
        judge(destination, [row(A)], [])


def test_the_report_is_a_table_with_one_row_a_blob(tmp_path: Path) -> None:
    result = judge(FakePds(missing=[str(A)]), [row(A), row(B)], [outcome(B, Outcome.TRANSFERRED)])
    write_report(result, tmp_path / "report.csv")
    report = pd.read_csv(tmp_path / "report.csv").set_index("blob_cid")
    assert report["verdict"].to_dict() == {str(A): "missing_at_destination", str(B): "matched"}
    assert report.loc[str(A), "first_record"] == "app.bsky.feed.post/x"


@pytest.mark.parametrize("is_moved", [False, True])
def test_it_is_said_whether_the_source_went_on_writing(tmp_path: Path, is_moved: bool) -> None:
    from eurosky_pipeline.atproto.repo import open_repo

    path = tmp_path / "account.car"
    path.write_bytes(make_repo_car(make_posts(2)))
    with open_repo(path) as repo:
        root, rev = str(repo.root), repo.commit.rev
    source = FakePds("old.example")
    source.faults["getLatestCommit"] = lambda _: json_answer({"cid": str(A) if is_moved else root, "rev": "3new"})
    said = describe_source_move(source.client, "did:plc:x", path)
    assert rev in said
    assert ("rev 3new" in said) == is_moved


def test_a_source_that_cannot_be_asked_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "account.car"
    path.write_bytes(make_repo_car({}))
    source = FakePds("old.example")
    source.faults["getLatestCommit"] = lambda _: json_answer({}, 500)
    assert "not known: old.example answered 500" in describe_source_move(source.client, "did:plc:x", path)
