"""Every record that was imported against what the destination gives back: equal, missing, differing, or extra.

The counts that a server tells of itself prove nothing, and neither does its commit: a server can stand at the right one
and have lost a block. So its own `getRepo` is read back, and compared key by key. Two indexes are held in memory, no
record is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX
from eurosky_pipeline.artifacts.tables import written_csv
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.key_pairs import KeyPair, pair_keys
from eurosky_pipeline.atproto.repo import RepoFile, open_repo
from eurosky_pipeline.errors import IntegrityError, PermanentError, TransientError
from eurosky_pipeline.reconcile.standing import require_standing
from eurosky_pipeline.transfer.export_repo import RepoRejected, download_repo
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.errors import RateLimited, RepoUnavailable
from eurosky_pipeline.xrpc.retry import RetryPolicy, with_retries

RECORDS_CSV = "reconciliation_records.csv"
"""The artifact that names every record which is not equal; a table without rows where all are."""
COLUMNS = ("key", "verdict", "imported_cid", "destination_cid")
RECORDS_SHOWN = 20


class RecordVerdict(StrEnum):
    """What is true of a record; each has exactly one. `EXTRA`: only the destination has it."""

    EQUAL = "equal"
    MISSING = "missing"
    DIFFERING = "differing"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True)
class UnequalRecord:
    """One row of the table. A CID is None where that side has no such record."""

    key: str
    verdict: RecordVerdict
    imported_cid: Cid | None
    destination_cid: Cid | None


@dataclass(slots=True)
class RecordComparison:
    """What was found.

    Attributes:
        counts: records by verdict, all zero where nothing could be compared.
        shown: the first few that are not equal; all of them stand in the table.
        is_active: somebody may write to the account at the destination, so that a difference may be their doing.
        is_compared: whether the destination could be asked.
        error: why it could not, or what is wrong with the repository as a whole; empty if neither.
        rate_limit: what the destination said if it was asked too much; a later try will tell more.
    """

    counts: dict[RecordVerdict, int] = field(default_factory=lambda: dict.fromkeys(RecordVerdict, 0))
    shown: list[UnequalRecord] = field(default_factory=list)
    is_active: bool = False
    is_compared: bool = True
    error: str = ""
    rate_limit: RateLimited | None = None

    @property
    def records(self) -> int:
        return sum(self.counts.values())

    @property
    def has_lost(self) -> bool:
        """Whether something is there that should not be, or is not that should, by nobody's will: in an active
        account, records of its own are no finding."""
        others = [RecordVerdict.MISSING, RecordVerdict.DIFFERING, *([] if self.is_active else [RecordVerdict.EXTRA])]
        return self.is_compared and (bool(self.error) or any(self.counts[verdict] for verdict in others))

    def as_progress(self) -> dict[str, object]:
        """The keys of `progress_data` that this knows; None where the destination did not tell."""
        is_known = self.is_compared and not self.error
        return {
            f"reconciliation_records_{verdict}": count if is_known else None for verdict, count in self.counts.items()
        }


def compare_records(
    destination: XrpcClient,
    did: str,
    car: Path,
    table: Path,
    *,
    max_bytes: int,
    retry: RetryPolicy,
    stop: threading.Event,
) -> RecordComparison:
    """Read the destination's repository back, and name in `table` every record that is not as in the imported CAR.

    Best effort: a destination that does not answer is told of in the result, and the table has no rows then.

    Args:
        car: as it was imported; the destination's copy is put beside it for the time that this takes.
        max_bytes: a larger repository is cut off, and counts as one that could not be compared.

    Raises:
        DestinationChangedError: the destination stands at another commit.
        FatalError: session refused, disk full, asked to stop.
    """
    found = RecordComparison()
    returned = car.with_name("destination.car" + PARTIAL_SUFFIX)
    with written_csv(table, COLUMNS) as write:
        try:
            with open_repo(car) as imported:
                found.is_active = require_standing(destination, did, imported.root, retry=retry, stop=stop).is_activated
                fetch = partial(download_repo, destination, did, returned, max_bytes=max_bytes, stop=stop)
                with_retries(fetch, retry, stop=stop)
                _compare(imported, returned, destination.host, found, write)
        except (PermanentError, TransientError, RepoUnavailable, RepoRejected) as problem:
            found.is_compared, found.error = False, problem.with_hint()
            if isinstance(problem, RateLimited):
                found.rate_limit = problem
        finally:
            returned.unlink(missing_ok=True)
    return found


def _compare(
    imported: RepoFile, returned: Path, host: str, found: RecordComparison, write: Callable[[Sequence[object]], None]
) -> None:
    try:
        with open_repo(returned) as repo:
            if repo.commit.did != imported.commit.did:
                found.error = f"{host} gives back the repository of {repo.commit.did}"
                return
            for pair in pair_keys(imported.keys(), repo.keys()):
                verdict = _verdict(pair)
                found.counts[verdict] += 1
                if verdict is RecordVerdict.EQUAL:
                    continue
                write([pair.key, verdict, pair.left, pair.right])
                if len(found.shown) < RECORDS_SHOWN:
                    found.shown.append(UnequalRecord(pair.key, verdict, pair.left, pair.right))
    except IntegrityError as error:
        found.error = f"{host} gives back a repository that is not whole: {error.message}"


def _verdict(pair: KeyPair) -> RecordVerdict:
    if pair.is_equal:
        return RecordVerdict.EQUAL
    if pair.right is None:
        return RecordVerdict.MISSING
    return RecordVerdict.EXTRA if pair.left is None else RecordVerdict.DIFFERING
