"""What the destination lacks: looked for, fetched once more, looked for again, until nothing changes.

No list and no count decides: the counts of `checkAccountStatus` can agree while blobs are missing, and
`listMissingBlobs` leaves out what was uploaded too early, or what only legacy references name. The list adds to what is
looked for, and no more.

Every way of this ends: a round that recovers nothing is the last one, and there are at most `MAX_ROUNDS`; a host that
is gone is not asked on; and one that asks for patience neither. What the ledger does not know for sure is asked for
first, so that a limit which lets through a few thousand questions at a time is no circle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import EuroskyError, PermanentError, TransientError
from eurosky_pipeline.reconcile.books import FINAL, Books, Pair
from eurosky_pipeline.reconcile.verdicts import BlobVerdict, Verdict, judge
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome, already_there
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.transfer.presence import Presence, each_presence
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import list_missing_blobs
from eurosky_pipeline.xrpc.errors import HostUnreachable, RateLimited, RepoUnavailable
from eurosky_pipeline.xrpc.retry import RetryPolicy, with_retries

MAX_ROUNDS = 5
MAX_FOREIGN = 1000
"""Blobs that a destination lists as missing and that no imported record names: tried, and told, up to that number."""
GONE_AFTER = 10
"""Questions in a row without any answer, after which a destination is not asked on."""


@dataclass(slots=True)
class BlobSearch:
    """One look for all blobs of an account; `run` it once, then ask for `verdicts`.

    Args:
        destination: a client with the account's session.
        copy_again: transfers these blobs once more, and says what became of each.
        on_looked: told, in the calling thread, of each blob that was asked for.

    Attributes:
        missing_before: what was missing at first; recovered: how many of them are there in the end.
        rounds: how often what is missing was fetched again.
        unrecorded: matched blobs that the ledger does not have as arrived, since the answer to an upload was lost, say;
            known once `verdicts` has been read.
        error: why the search is not complete; rate_limit: if that was a host that asks for patience.
    """

    destination: XrpcClient
    did: str
    books: Books
    copy_again: Callable[[list[Cid]], list[BlobOutcome]]
    workers: int
    stop: threading.Event
    retry: RetryPolicy
    on_looked: Callable[[], None] = lambda: None
    missing_before: set[Cid] = field(init=False, default_factory=set)
    recovered: int = field(init=False, default=0)
    rounds: int = field(init=False, default=0)
    unrecorded: list[BlobOutcome] = field(init=False, default_factory=list)
    error: str = field(init=False, default="")
    rate_limit: RateLimited | None = field(init=False, default=None)
    _is_listed: bool = field(init=False, default=True)
    _listed: set[Cid] = field(init=False, default_factory=set)
    _absent: set[Cid] = field(init=False, default_factory=set)
    _untold: dict[Cid, bool] = field(init=False, default_factory=dict)  # whether the ledger saw it arrive, some time
    _vouched: set[Cid] = field(init=False, default_factory=set)
    _announced: dict[Cid, int | None] = field(init=False, default_factory=dict)  # where it is not what was expected
    _settled: set[Cid] = field(init=False, default_factory=set)
    _outcomes: dict[Cid, BlobOutcome] = field(init=False, default_factory=dict)
    _unanswered: int = field(init=False, default=0)
    _limit: RateLimited | None = field(init=False, default=None)

    @property
    def vouched_for(self) -> int:
        """Blobs of which the destination did not tell, and that the ledger saw arrive after the import."""
        return len(self._vouched)

    def run(self) -> None:
        """Best effort: what keeps it from its end stands in `error`.

        Raises: FatalError for a refused session, a full disk, or a stop; not for a source that has closed the account.
        """
        self._is_listed = self.best_effort(self._list)
        foreign = set(self._listed)
        self._look(self._doubtful(foreign))
        self._look([(ManifestRow(cid), None) for cid in sorted(self._untold)])
        unsure = {cid for cid, has_arrived in self._untold.items() if not has_arrived}
        self._fetch(self._absent | (self._listed - foreign) | set(sorted(foreign)[:MAX_FOREIGN]), unsure)
        limit, absent = self._limit, frozenset(self._absent)
        self._look(pair for pair in self.books.pairs() if not self._is_doubtful(pair[1]))
        self._fetch(self._absent - absent, set())
        if limit is not None:
            self._note(limit)
        elif self._unanswered >= GONE_AFTER:
            self.error = self.error or f"{self.destination.host} does not answer any more when it is asked for blobs"

    def verdicts(self) -> Iterator[BlobVerdict]:
        """What is true of each blob of the manifest, and of others that the destination lists as missing."""
        foreign = set(self._listed)
        for row, outcome in self.books.pairs():
            foreign.discard(row.blob_cid)
            yield self._judged(row, outcome)
        for cid in sorted(foreign, key=str)[:MAX_FOREIGN]:
            yield self._judged(ManifestRow(cid), None)
        if len(foreign) > MAX_FOREIGN:
            self.error = self.error or (
                f"{self.destination.host} lists {len(foreign)} blobs as missing that no imported record names; "
                f"{MAX_FOREIGN} of them are told"
            )

    def best_effort(self, work: Callable[[], None]) -> bool:
        """Whether this succeeds; if it does not, `error` says why. Raises as `run`."""
        try:
            work()
        except (PermanentError, TransientError, RepoUnavailable) as problem:
            self._note(problem)
            return False
        return True

    @property
    def _is_over(self) -> bool:
        """Whether asking the destination for blobs has no sense any more."""
        return self._limit is not None or self._unanswered >= GONE_AFTER

    def _list(self) -> None:
        try:
            self._listed = with_retries(self._listed_now, self.retry, stop=self.stop)
        except PermanentError as problem:
            if problem.code != "not_a_pds":  # a server without that list; each blob is asked for all the same
                raise

    def _listed_now(self) -> set[Cid]:
        return {row.blob_cid for row in list_missing_blobs(self.destination)}

    def _doubtful(self, foreign: set[Cid]) -> Iterator[Pair]:
        """What has to be asked for first; takes from `foreign` what the manifest has."""
        for row, outcome in self.books.pairs():
            foreign.discard(row.blob_cid)
            if self.books.is_settled(outcome):
                self._settled.add(row.blob_cid)
            elif self._is_doubtful(outcome):
                yield row, outcome

    def _is_doubtful(self, outcome: BlobOutcome | None) -> bool:
        """Whether this side knows neither that it arrived nor that it cannot be had."""
        return not self.books.is_vouched_for(outcome) and not self.books.is_settled(outcome)

    def _look(self, pairs: Iterable[Pair]) -> None:
        """Ask the destination for these, as long as that has sense."""
        under_way: dict[Cid, Pair] = {}

        def asked() -> Iterator[Cid]:
            for row, outcome in pairs:
                if not self._is_over:
                    under_way[row.blob_cid] = row, outcome
                    yield row.blob_cid
                else:
                    self._miss(row.blob_cid, outcome)

        for found in each_presence(self.destination, self.did, asked(), workers=self.workers, stop=self.stop):
            row, outcome = under_way.pop(found.blob_cid)
            self.on_looked()
            self._unanswered = self._unanswered + 1 if isinstance(found.error, HostUnreachable) else 0
            if isinstance(found.error, RateLimited):
                self._limit = found.error
            if found.is_there is None:
                self._miss(row.blob_cid, outcome)
            else:
                self._take(row, outcome, found)

    def _miss(self, cid: Cid, outcome: BlobOutcome | None) -> None:
        """Nobody has told of this blob."""
        if outcome is not None and outcome.is_there:
            self._absent.discard(cid)  # it was not there, was sent since, and that is the last that is known
        if self.books.is_vouched_for(outcome):
            self._vouched.add(cid)
        else:
            self._untold.setdefault(cid, outcome is not None and outcome.is_there)

    def _take(self, row: ManifestRow, outcome: BlobOutcome | None, found: Presence) -> None:
        cid = row.blob_cid
        self._untold.pop(cid, None)
        self._announced.pop(cid, None)
        (self._absent.discard if found.is_there else self._absent.add)(cid)
        size_bytes = found.size_bytes or None  # some servers say 0 where they mean that they do not know
        if found.is_there and (size_bytes is None or size_bytes != _expected_bytes(row, outcome)):
            self._announced[cid] = size_bytes

    def _fetch(self, missing: set[Cid], unsure: set[Cid]) -> None:
        """Transfer again what is missing, or may be, and look, and list, until nothing changes."""
        self.missing_before |= missing
        self.best_effort(lambda: self._fetch_in_rounds(missing | unsure))

    def _fetch_in_rounds(self, missing: set[Cid]) -> None:
        for _ in range(MAX_ROUNDS):
            wanted = sorted(missing - self._settled)
            if not wanted or self._is_over:
                return
            self.rounds += 1
            self._copy(wanted)
            self._look((ManifestRow(cid), self._outcomes.get(cid)) for cid in wanted if cid not in self._settled)
            if self._is_listed:
                self._list()
            still = missing & (self._absent | self._untold.keys() | self._listed)
            if still == missing:
                return
            missing = still

    def _copy(self, cids: list[Cid]) -> None:
        for outcome in self.copy_again(cids):
            self._outcomes[outcome.blob_cid] = outcome
            if outcome.outcome in FINAL:
                self._settled.add(outcome.blob_cid)

    def _judged(self, row: ManifestRow, outcome: BlobOutcome | None) -> BlobVerdict:
        cid = row.blob_cid
        is_untold = cid in self._untold or cid in self._vouched
        is_there = False if cid in self._absent or cid in self._listed else None if is_untold else True
        outcome = self._outcomes.get(cid, outcome)
        verdict = judge(
            row,
            outcome,
            is_there=is_there,
            announced_bytes=self._announced.get(cid, _expected_bytes(row, outcome)) if is_there else None,
            is_ledger_enough=self._is_listed,
        )
        if verdict.verdict is Verdict.MATCHED:
            self.recovered += cid in self.missing_before
            if outcome is None or not outcome.is_there:
                self.unrecorded.append(already_there(cid, verdict.size_bytes, row.mime_type))
        return verdict

    def _note(self, problem: EuroskyError) -> None:
        """Remember why the search is not complete; the first reason, and a limit before all."""
        if isinstance(problem, RateLimited) and self.rate_limit is None:
            self.rate_limit = problem
        self.error = self.error or problem.with_hint()


def _expected_bytes(row: ManifestRow, outcome: BlobOutcome | None) -> int | None:
    """The size as it was counted on its way, else as a record claims it."""
    return outcome.size_bytes if outcome and outcome.outcome is Outcome.TRANSFERRED else row.size_bytes
