"""`eurosky migrations show`: one migration as it is, in words and in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.cli.migrations_show import BLOBS_SHOWN
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings

CIDS = [cid_of(bytes([number]), CODEC_RAW) for number in range(BLOBS_SHOWN + 5)]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    opened = open_registry(load_settings())
    yield opened
    opened.close()


@pytest.fixture
def token(registry: Registry) -> str:
    return registry.add(NewMigration("did:web:a.example", "https://old.example", "https://new.example"), {}).token


def show(*arguments: str) -> str:
    done = CliRunner().invoke(migrations, ["show", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.replace("│", " ")


def as_json(*arguments: str) -> Any:
    return json.loads(show(*arguments, "--json"))


def lose(registry: Registry, token: str, cids: list[Cid], **fields: Any) -> None:
    rows = [BlobOutcome(cid, Outcome.MISSING_AT_SOURCE, 2048, error_code="blob_not_found", **fields) for cid in cids]
    registry.record(token, {"failed_blobs": [str(cid) for cid in cids]}, rows)


def test_a_new_migration_has_no_history_and_has_lost_nothing(token: str) -> None:
    shown = as_json(token)
    assert (shown["state"], shown["attempts"], shown["history"]) == ("pending_repo", 0, [])
    assert (shown["blobs_not_transferred_count"], shown["blobs_not_transferred"]) == (0, [])
    assert (shown["error"], shown["lease"], shown["report"], shown["cancel_requested_at"]) == (None, None, None, None)
    words = show(token)
    for absent in ("attempts\n", "blobs that", "why it", "worked on by"):
        assert absent not in words


def test_each_attempt_is_told_with_how_it_ended(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.fail(token, FatalError("the disk is full", code="disk_full", hint="make room"), holder="run-1")
    registry.release_leases("run-1")
    registry.retry(token)
    registry.acquire_lease(token, "run-2", 60)
    first, second = as_json(token)["history"]
    assert (first["number"], first["run"], first["started_in"], first["ended_in"]) == (
        *(1, "run-1"),
        *("pending_repo", "failed"),
    )
    assert first["error"] == {"code": "disk_full", "text": "the disk is full → make room"}
    assert first["started_at"] <= first["ended_at"]
    assert (second["run"], second["ended_at"], second["error"]) == ("run-2", None, None)
    words = show(token)
    assert "the disk is full → make room [disk_full]" in words
    assert "under way" in words


def test_who_works_on_it_and_until_when_and_whether_it_is_to_end(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.request_cancel(token)
    shown = as_json(token)
    assert shown["lease"]["holder"] == "run-1"
    assert shown["lease"]["expires_at"] > shown["created_at"]
    assert shown["cancel_requested_at"] is not None
    assert f"run run-1, until {shown['lease']['expires_at']}" in show(token)
    assert "to be cancelled" in show(token)
    registry.release_leases("run-1")
    assert as_json(token)["lease"] is None


def test_an_attempt_whose_run_has_died_is_not_under_way(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", -1)
    assert "its run has died" in show(token)
    assert "under way" not in show(token)


def test_blobs_that_did_not_arrive_are_named_with_size_and_reason_the_first_ones_of_many(
    registry: Registry, token: str
) -> None:
    lose(registry, token, CIDS, error_text="old.example has no such blob\x1b[2J", attempts=4)
    shown = as_json(token)
    assert [blob["blob_cid"] for blob in shown["blobs_not_transferred"]] == [str(cid) for cid in CIDS[:BLOBS_SHOWN]]
    assert shown["blobs_not_transferred"][0] == {
        "blob_cid": str(CIDS[0]),
        "outcome": "missing_at_source",
        "size_bytes": 2048,
        "attempts": 4,
        "error_code": "blob_not_found",
        "error": "old.example has no such blob\x1b[2J",
    }
    assert shown["blobs_not_transferred_count"] == len(CIDS)
    words = show(token)
    assert f"{len(CIDS) - BLOBS_SHOWN} more: --all-blobs shows them" in words
    assert "2.0 KiB" in words
    assert "old.example has no such blob" in words
    assert "\x1b" not in words, "a host may move the terminal's cursor"
    assert str(CIDS[-1]) not in words


def test_all_of_them_are_there_where_that_is_asked_for(registry: Registry, token: str) -> None:
    lose(registry, token, CIDS)
    assert len(as_json(token, "--all-blobs")["blobs_not_transferred"]) == len(CIDS)
    words = show(token, "--all-blobs")
    assert all(str(cid) in words for cid in CIDS)
    assert "more: --all-blobs" not in words


def test_a_blob_that_the_ledger_of_an_older_transfer_names_is_not_missing_now(registry: Registry, token: str) -> None:
    lose(registry, token, CIDS[:2])
    registry.record(token, {"failed_blobs": [str(CIDS[1])]})
    assert [blob["blob_cid"] for blob in as_json(token)["blobs_not_transferred"]] == [str(CIDS[1])]


def test_what_was_sent_and_is_missing_all_the_same_is_said_so(registry: Registry, token: str) -> None:
    registry.record(
        token,
        {"failed_blobs": [str(CIDS[0]), str(CIDS[1])]},
        [BlobOutcome(CIDS[0], Outcome.TRANSFERRED, 10)],
    )
    sent, unheard_of = as_json(token)["blobs_not_transferred"]
    assert sent["outcome"] == "missing_at_destination"
    assert (unheard_of["outcome"], unheard_of["blob_cid"]) == ("unknown", str(CIDS[1]))


def test_the_report_is_named_where_there_is_one(
    registry: Registry, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS, {"reconciliation_status": "partial"})
    assert as_json(token)["report"] is None, "there is no such file"
    path = tmp_path / "artifacts" / token / "reconciliation_report.csv"
    path.parent.mkdir(parents=True)
    path.touch()
    assert as_json(token)["report"] == str(path)
    monkeypatch.setenv("EUROSKY_ARTIFACTS", "s3://bucket/prefix")
    assert as_json(token)["report"] == f"s3://bucket/prefix/{token}/reconciliation_report.csv"
