"""The ledger: one row a blob, written with the progress or not at all."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import StatementError

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline_tests.conftest import Sql

CIDS = sorted((cid_of(bytes([number]), CODEC_RAW) for number in range(4)), key=str)
NOW = datetime(2026, 1, 27, 10, 0, 0, tzinfo=UTC)
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
SENT = BlobOutcome(
    CIDS[0],
    Outcome.TRANSFERRED,
    5_000_000_000,
    "video/mp4",
    2,
    15_000_000_000,
    12.5,
    3.25,
    started_at=NOW,
    ended_at=NOW,
)
LOST = BlobOutcome(CIDS[1], Outcome.MISSING_AT_SOURCE, error_code="missing_at_source", error_text="pds: Blob not found")


def add(registry: Registry, did: str = DID) -> str:
    return registry.add(NewMigration(did, "https://old.example", "https://new.example"), {}).token


@pytest.fixture
def token(registry: Registry) -> str:
    return add(registry)


def test_outcomes_come_back_as_they_were_written_ordered_by_cid(registry: Registry, token: str) -> None:
    registry.record(token, {}, [LOST, SENT])
    assert registry.outcomes(token) == [SENT, LOST]
    assert [outcome.is_there for outcome in registry.outcomes(token)] == [True, False]


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_can_be_kept(registry: Registry, token: str, outcome: Outcome) -> None:
    registry.record(token, {}, [BlobOutcome(CIDS[0], outcome)])
    assert registry.outcomes(token) == [BlobOutcome(CIDS[0], outcome)]


def test_a_later_outcome_of_a_blob_takes_the_place_of_the_earlier(registry: Registry, token: str) -> None:
    registry.record(token, {}, [SENT, LOST])
    found = BlobOutcome(LOST.blob_cid, Outcome.TRANSFERRED, 7, "image/png", 1, 14, 0.5, 0.5)
    registry.record(token, {}, [found])
    assert registry.outcomes(token) == [SENT, found]


def test_the_last_of_two_outcomes_in_one_batch_is_the_one_that_counts(registry: Registry, token: str) -> None:
    again = BlobOutcome(LOST.blob_cid, Outcome.FAILED, error_code="rate_limited", error_text="429")
    registry.record(token, {}, [LOST, again])
    assert registry.outcomes(token) == [again]


def test_two_migrations_keep_their_ledgers_apart(registry: Registry, token: str) -> None:
    other = add(registry, "did:plc:z72i7hdynmk6r22z27h6tvur")
    registry.record(token, {}, [SENT])
    registry.record(other, {}, [BlobOutcome(SENT.blob_cid, Outcome.TOO_LARGE)])
    assert registry.outcomes(token) == [SENT]
    assert [outcome.outcome for outcome in registry.outcomes(other)] == [Outcome.TOO_LARGE]


def test_ledger_and_progress_are_written_together(registry: Registry, token: str) -> None:
    registry.record(token, {"blobs_completed": 1}, [SENT])
    assert registry.outcomes(token) == [SENT]
    assert registry.get(token).progress_data == {"blobs_completed": 1}


def test_a_fault_among_the_outcomes_leaves_neither_rows_nor_progress(registry: Registry, token: str) -> None:
    registry.record(token, {"blobs_completed": 1}, [SENT])

    def faulty() -> Iterator[BlobOutcome]:
        yield BlobOutcome(SENT.blob_cid, Outcome.FAILED)
        yield LOST
        raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="the power fails"):
        registry.record(token, {"blobs_completed": 2}, faulty())
    assert registry.outcomes(token) == [SENT]
    assert registry.get(token).progress_data == {"blobs_completed": 1}


def test_progress_that_cannot_be_written_leaves_no_rows(registry: Registry, token: str) -> None:
    with pytest.raises(StatementError):
        registry.record(token, {"not json": object()}, [SENT])
    assert registry.outcomes(token) == []
    assert registry.get(token).progress_data == {}


def test_the_ledger_goes_with_its_migration(registry: Registry, token: str, sql: Sql) -> None:
    registry.record(token, {}, [SENT])
    sql("DELETE FROM migrations WHERE token = :token", token=token)
    assert registry.outcomes(token) == []
