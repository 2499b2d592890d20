"""What the account holds at the source, as far as it can be known without moving it all."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.summary import RepoSummary, summarize
from eurosky_pipeline.errors import IntegrityError
from eurosky_pipeline.preflight.findings import Finding, Verdict, size
from eurosky_pipeline.preflight.servers import Server
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.transfer.presence import each_presence
from eurosky_pipeline.xrpc.endpoints import check_account_status, get_repo, list_blobs

READ_BYTES = 8 * 1024 * 1024
"""Of a repository, at the most; nearly all are smaller, and then known exactly."""
RECORD_BYTES = 400
"""Of a repository for each record, blocks of the tree included: what large real ones have."""
SAMPLE_BLOBS = 20
SAMPLE_WORKERS = 4
LISTING_S = 12.0
READING_S = 12.0
"""Then what has come is what is told: in half the time that a check has."""


@dataclass(frozen=True, slots=True)
class RepoSize:
    """`summary` is None unless all of it was read; `records` is None where nobody tells; `size_bytes` is exact, or an
    estimate, or the least that it is."""

    size_bytes: int
    records: int | None
    is_estimate: bool
    summary: RepoSummary | None


@dataclass(frozen=True, slots=True)
class BlobSizes:
    """Blobs that the source lists, `is_all` unless there was no time for more, and what it says of `sampled` of them.

    Attributes:
        known: of the sample, how many the source has and tells the size of.
        missing: of the sample, how many it says that it has not.
        sampled_bytes: of those known.
        largest_bytes: the largest one known.
    """

    blobs: int
    is_all: bool
    sampled: int
    known: int
    missing: int
    sampled_bytes: int
    largest_bytes: int

    @property
    def estimated_bytes(self) -> int:
        """Of all of them; exact if all are known."""
        return round(self.sampled_bytes * self.blobs / self.sampled) if self.sampled else 0

    @property
    def is_exact(self) -> bool:
        return self.is_all and self.known + self.missing == self.blobs


def look_at_repo(
    server: Server, migration: Migration, *, max_bytes: int, stop: threading.Event
) -> tuple[Finding, RepoSize]:
    """Read the first `READ_BYTES` of the repository, and judge it whole if that is all of it.

    Raises: EuroskyError: the source does not give it out.
    """
    client = server.asked(stop)
    told = check_account_status(client).indexed_records if server.is_logged_in else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "account.car"
        is_whole = _read(server, migration.did, path, stop)
        read_bytes = path.stat().st_size
        summary = None
        if is_whole:
            try:
                with open_repo(path) as repo:
                    summary = summarize(repo)
            except IntegrityError as error:
                return _damaged(error, client.host), RepoSize(read_bytes, told, is_estimate=False, summary=None)
    if summary is not None:
        found = RepoSize(read_bytes, summary.records, is_estimate=False, summary=summary)
    else:
        estimate = max(read_bytes, (told or 0) * RECORD_BYTES)
        found = RepoSize(estimate, told, is_estimate=True, summary=None)
    return _repo_finding(found, migration.did, max_bytes, is_told=told is not None), found


def look_at_blobs(
    server: Server, migration: Migration, *, upload_limit_bytes: int | None, max_bytes: int, stop: threading.Event
) -> tuple[Finding, BlobSizes]:
    """Count what the source lists, and ask for the sizes of a few, chosen by chance but each time the same."""
    client, did = server.asked(stop), migration.did
    chance, deadline_s = random.Random(did), time.monotonic() + LISTING_S  # noqa: S311  a sample keeps no secret
    sample: list[Cid] = []
    blobs, is_all = 0, True
    for cid in list_blobs(client, did):
        blobs += 1
        if len(sample) < SAMPLE_BLOBS:
            sample.append(cid)
        elif (place := chance.randrange(blobs)) < SAMPLE_BLOBS:
            sample[place] = cid
        if time.monotonic() > deadline_s:
            is_all = False
            break
    looked = list(each_presence(client, did, sample, workers=SAMPLE_WORKERS, stop=stop))
    sizes = [found.size_bytes for found in looked if found.is_there and found.size_bytes is not None]
    found = BlobSizes(
        blobs=blobs,
        is_all=is_all,
        sampled=len(sample),
        known=len(sizes),
        missing=sum(found.is_there is False for found in looked),
        sampled_bytes=sum(sizes),
        largest_bytes=max(sizes, default=0),
    )
    limit = min(max_bytes, upload_limit_bytes or max_bytes)
    return _blobs_finding(found, limit, sum(each > limit for each in sizes)), found


def _read(server: Server, did: str, path: Path, stop: threading.Event) -> bool:
    """Whether all of it is in the file."""
    deadline_s = time.monotonic() + READING_S
    with get_repo(server.asked(stop), did) as download, path.open("wb") as file:
        for chunk in download.chunks:
            file.write(chunk)
            if file.tell() > READ_BYTES or time.monotonic() > deadline_s:
                return False
    return True


def _damaged(error: IntegrityError, host: str) -> Finding:
    return Finding(
        "repository",
        Verdict.NO_GO,
        "not whole",
        "a whole repository",
        reason=f"what {host} gives out is damaged: {error.message} [repo_damaged]",
        what_to_do="try again; if it stays so, ask the source's operator",
    )


def _repo_finding(found: RepoSize, did: str, max_bytes: int, *, is_told: bool) -> Finding:
    name, needed = "repository", f"at most {size(max_bytes)} (EUROSKY_MAX_REPO_BYTES)"
    records = "records not told" if found.records is None else f"{found.records} records"
    if found.summary is None:
        about = f"about {size(found.size_bytes)} (an estimate)" if is_told else f"{size(found.size_bytes)} or more"
    else:
        about = size(found.size_bytes)
    legacy = found.summary.legacy_blob_refs if found.summary else 0
    text = f"{records}, {about}{f', {legacy} legacy blob references' if legacy else ''}"
    if found.summary is not None and found.summary.did != did:
        return Finding(
            name,
            Verdict.NO_GO,
            text,
            needed,
            reason=f"the source gives out the repository of {found.summary.did[:100]}",
            what_to_do="ask the source's operator; an import of it would put one account's records into another",
        )
    if found.size_bytes > max_bytes:
        return Finding(
            name,
            Verdict.WARN if found.is_estimate else Verdict.NO_GO,
            text,
            needed,
            reason="larger than what is accepted from a host",
            what_to_do="raise EUROSKY_MAX_REPO_BYTES if that is right",
        )
    return Finding(name, Verdict.GO, text, needed)


def _blobs_finding(found: BlobSizes, limit_bytes: int, too_large: int) -> Finding:
    count = f"{found.blobs}{'' if found.is_all else ' or more'} blobs"
    if not found.blobs:
        return Finding("blobs", Verdict.GO, count)
    about = f"{size(found.estimated_bytes)}{'' if found.is_exact else f' (estimated from {found.known} of them)'}"
    text = f"{count}, {about if found.known else 'sizes not told'}, the largest seen {size(found.largest_bytes)}"
    reasons = []
    if found.missing:
        reasons.append(f"of {found.sampled} asked for, the source does not have {found.missing}")
    if too_large:
        reasons.append(f"of {found.sampled} asked for, {too_large} are larger than {size(limit_bytes)}")
    return Finding(
        "blobs",
        Verdict.WARN if reasons else Verdict.GO,
        text,
        f"each at most {size(limit_bytes)}",
        reason="; ".join(reasons),
        what_to_do="the others move all the same, and the report names those that cannot; to move the large ones, ask "
        "the destination's operator for a higher upload limit, and see EUROSKY_MAX_BLOB_BYTES"
        if reasons
        else "",
    )
