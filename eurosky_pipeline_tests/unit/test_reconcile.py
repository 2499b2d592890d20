"""The verdict: every blob in exactly one class, and a status that counts cannot fake."""

from __future__ import annotations

import threading
from pathlib import Path

import pandas as pd
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.reconcile.reconcile import Reconciliation, reconcile, write_report
from eurosky_pipeline.reconcile.source_moved import look_for_source_move
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.xrpc.errors import AuthError
from eurosky_pipeline_tests.builders import make_posts, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

DATA_A, DATA_B = b"a", b"b"
A, B = (cid_of(data, CODEC_RAW) for data in (DATA_A, DATA_B))
ROOT = cid_of(b"the imported commit")


def server(*blobs: bytes, **fields: object) -> FakePds:
    """A destination that stands at the imported repository and has these blobs."""
    destination = FakePds("new.example", commit=str(ROOT), **fields)
    for data in blobs:
        destination.put(data)
    return destination


def row(cid: Cid, *, is_legacy: bool = False, is_referenced: bool = True) -> ManifestRow:
    return ManifestRow(cid, "image/png", 10, is_referenced, is_legacy, True, 1, "app.bsky.feed.post/x")


def outcome(cid: Cid, kind: Outcome, text: str = "why") -> BlobOutcome:
    arrived = kind is Outcome.TRANSFERRED
    return BlobOutcome(cid, kind, size_bytes=10 if arrived else 0, error_text="" if arrived else text)


def judge(destination: FakePds, rows: list[ManifestRow], ledger: list[BlobOutcome], again=None) -> Reconciliation:
    copy_again = again or (lambda cids: [])
    return reconcile(destination.client, "did:plc:x", ROOT, rows, ledger, copy_again, workers=3, stop=threading.Event())


def verdict(result: Reconciliation, cid: Cid) -> tuple[str, str]:
    (found,) = [v for v in result.verdicts if v.blob_cid == cid]
    return str(found.verdict), found.reason


def test_all_that_the_destination_gives_out_is_complete() -> None:
    ledger = [outcome(A, Outcome.TRANSFERRED), outcome(B, Outcome.TRANSFERRED)]
    result = judge(server(DATA_A, DATA_B), [row(A), row(B)], ledger)
    assert result.status == "complete"
    assert {str(v.verdict) for v in result.verdicts} == {"matched"}
    assert result.as_progress()["failed_blobs"] == []


def test_no_blobs_at_all_is_skipped() -> None:
    assert judge(server(), [], []).status == "skipped"


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
    kind: Outcome | None, expected: str, missing: list[str]
) -> None:
    result = judge(server(missing=missing), [row(A)], [outcome(A, kind)] if kind else [])
    found, reason = verdict(result, A)
    assert found == expected
    assert reason
    assert (result.status, result.missing_count, result.still_missing) == ("partial", 1, 1)
    assert result.as_progress()["failed_blobs"] == [str(A)]


def test_what_it_lists_as_missing_is_not_matched_though_it_gives_it_out() -> None:
    result = judge(server(DATA_A, missing=[str(A)]), [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert verdict(result, A)[0] == "missing_at_destination"


def test_a_missing_blob_is_tried_once_more_and_recovered() -> None:
    destination = server(DATA_B, missing=[str(A)])

    def again(cids: list[Cid]) -> list[BlobOutcome]:
        assert cids == [A]
        destination.missing.clear()
        destination.put(DATA_A)
        return [outcome(cid, Outcome.TRANSFERRED) for cid in cids]

    result = judge(destination, [row(A), row(B)], [outcome(B, Outcome.TRANSFERRED)], again)
    assert (result.status, result.missing_count, result.recovered, result.still_missing) == ("complete", 1, 1, 0)
    assert verdict(result, A) == ("matched", "")


def test_a_second_try_that_says_yes_and_changes_nothing_is_no_recovery() -> None:
    result = judge(server(), [row(A)], [], lambda cids: [outcome(cid, Outcome.TRANSFERRED) for cid in cids])
    assert (result.status, result.recovered, result.still_missing) == ("partial", 0, 1)
    assert "does not give it out" in verdict(result, A)[1]


def test_a_blob_that_no_imported_record_references_says_so() -> None:
    result = judge(server(), [row(A, is_referenced=False)], [outcome(A, Outcome.TRANSFERRED)])
    assert "no record of the imported repository references it" in verdict(result, A)[1]


def test_a_blob_that_only_the_destination_names_is_in_the_report() -> None:
    result = judge(server(DATA_A, missing=[str(B)]), [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert verdict(result, B)[0] == "missing_at_destination"
    assert result.status == "partial"


def test_a_blob_that_was_there_before_is_matched_without_a_ledger_row() -> None:
    assert verdict(judge(server(DATA_A), [row(A)], []), A) == ("matched", "")


@pytest.mark.parametrize(("kind", "expected"), [(Outcome.TRANSFERRED, "matched"), (Outcome.FAILED, "error")])
def test_where_the_destination_does_not_tell_the_ledger_decides(kind: Outcome, expected: str) -> None:
    destination = server()
    destination.faults["getBlob"] = lambda _: json_answer({}, 500)
    assert verdict(judge(destination, [row(A)], [outcome(A, kind)]), A)[0] == expected


def test_a_destination_that_cannot_be_asked_is_an_error_in_the_report_and_not_an_exception() -> None:
    destination = server(DATA_A)
    destination.faults["listMissingBlobs"] = lambda _: json_answer({}, 502)
    result = judge(destination, [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert (result.status, result.missing_count, result.still_missing) == ("error", None, None)
    assert "new.example answered 502" in result.error
    assert verdict(result, A)[0] == "error"
    progress = result.as_progress()
    assert (progress["reconciliation_status"], progress["reconciliation_still_missing"]) == ("error", None)
    assert "502" in progress["reconciliation_error"]


def test_a_destination_that_does_not_stand_at_the_imported_repository_is_no_witness() -> None:
    destination = server(DATA_A)
    destination.commit = str(cid_of(b"another commit"))
    with pytest.raises(FatalError, match="does not stand at the imported repository") as caught:
        judge(destination, [row(A)], [outcome(A, Outcome.TRANSFERRED)])
    assert caught.value.code == "destination_changed"


def test_an_active_destination_may_have_moved_on() -> None:
    destination = server(DATA_A, is_active=True)
    destination.commit = str(cid_of(b"a newer commit"))
    assert judge(destination, [row(A)], []).status == "complete"


def test_a_refused_session_is_raised() -> None:
    destination = server()
    destination.faults["listMissingBlobs"] = lambda _: json_answer({"error": "AuthenticationRequired"}, 401)
    with pytest.raises(AuthError):
        judge(destination, [row(A)], [])


def test_the_report_is_a_table_with_one_row_a_blob(tmp_path: Path) -> None:
    result = judge(server(DATA_B), [row(A), row(B)], [outcome(B, Outcome.TRANSFERRED)])
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
    source.faults["getLatestCommit"] = lambda _: json_answer(
        {"cid": str(A) if is_moved else root, "rev": "3kzzzzzzzzz2z"}
    )
    said = look_for_source_move(source.client, "did:plc:x", path)
    assert said.is_moved is is_moved
    assert rev in said.text
    assert ("3kzzzzzzzzz2z" in said.text) == is_moved


def test_a_source_that_cannot_be_asked_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "account.car"
    path.write_bytes(make_repo_car({}))
    source = FakePds("old.example")
    source.faults["getLatestCommit"] = lambda _: json_answer({}, 500)
    said = look_for_source_move(source.client, "did:plc:x", path)
    assert said.is_moved is None
    assert "not known: old.example answered 500" in said.text
