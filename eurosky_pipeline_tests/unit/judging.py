"""A search for blobs and its verdict, over a destination that stands for a real one; for tests of what comes out."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.reconcile.books import Books
from eurosky_pipeline.reconcile.reconcile import Reconciliation, reconcile
from eurosky_pipeline.reconcile.records import RecordComparison
from eurosky_pipeline.reconcile.search import BlobSearch
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.xrpc.retry import RetryPolicy
from eurosky_pipeline_tests.fake_pds import FakePds

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


def judge_in(folder: Path) -> Callable[..., Judged]:
    """`judge(destination, rows, ledger, …)`: a whole search, whose report is written to `folder` and read again."""

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
        report = folder / "report.csv"
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
