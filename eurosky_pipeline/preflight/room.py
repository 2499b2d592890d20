"""Whether there is room for what is going to move: in an upload, in the destination's day, on this machine's disk."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from eurosky_pipeline.artifacts.disk import RESERVE_BYTES
from eurosky_pipeline.preflight.content import BlobSizes, RepoSize
from eurosky_pipeline.preflight.findings import Finding, NotLookedAtError, Verdict, size
from eurosky_pipeline.preflight.folders import standing
from eurosky_pipeline.preflight.servers import Server
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import Settings

USUAL_UPLOADS_A_DAY = 1000
"""What the reference PDS allows one IP where its limits are on."""
USUAL_LIMIT_BYTES = 5 * 1024 * 1024
"""What the reference PDS takes in one upload unless it is told otherwise."""
_DAY = timedelta(hours=24)


def look_at_upload_size(destination: Server, blobs: BlobSizes | None) -> Finding:
    """The destination's limit for one blob, against the largest that was seen at the source."""
    if destination.description is None:
        raise NotLookedAtError("the destination does not answer")
    limit = destination.description.blob_upload_limit_bytes
    needed = f"{size(blobs.largest_bytes)}, the largest seen" if blobs and blobs.largest_bytes else ""
    if limit is None:
        return Finding(
            "upload size",
            Verdict.UNKNOWN,
            "not told",
            needed,
            reason=f"the host does not tell its limit; the usual one is {size(USUAL_LIMIT_BYTES)}",
            what_to_do="ask its operator; what is too large is left out, and named in the report",
        )
    if blobs and blobs.largest_bytes > limit:
        return Finding(
            "upload size",
            Verdict.WARN,
            size(limit),
            needed,
            reason="blobs above it cannot be moved",
            what_to_do="ask the destination's operator for a higher limit (PDS_BLOB_UPLOAD_LIMIT)",
        )
    return Finding("upload size", Verdict.GO, size(limit), needed)


def look_at_quota(migration: Migration, blobs: BlobSizes | None, settings: Settings, registry: Registry) -> Finding:
    """What is left of the destination's uploads of a day, as far as this installation knows: only an upload would make
    the host tell. A limit never loses anything: the migration waits, and goes on by itself."""
    name, host, now = "upload quota", migration.destination_pds, datetime.now(UTC)
    left = None if blobs is None else max(0, blobs.blobs - int(migration.progress_data.get("blobs_completed") or 0))
    needed = "" if left is None else f"{left} uploads"
    if settings.bypass_key(host) is not None:
        return Finding(name, Verdict.GO, "lifted by a key of EUROSKY_RATE_LIMIT_BYPASS", needed)
    waiting = [each.resume_at for each in registry.find([State.WAITING]) if each.destination_pds == host]
    until = max((moment for moment in waiting if moment is not None and moment > now), default=None)
    if until is not None:
        return Finding(
            name,
            Verdict.WARN,
            f"used up until {until:%Y-%m-%d %H:%M} UTC",
            needed,
            reason=f"{len(waiting)} migrations wait for this host's limit",
            what_to_do="begin then; or ask its operator for a key that lifts it (EUROSKY_RATE_LIMIT_BYPASS)",
        )
    sent = registry.uploads_since(host, now - _DAY)
    found = f"{sent} uploads from here in 24 hours; the host's limit is not told before one is made"
    if left is not None and sent + left > USUAL_UPLOADS_A_DAY:
        days = -(-(sent + left) // USUAL_UPLOADS_A_DAY)
        return Finding(
            name,
            Verdict.WARN,
            found,
            needed,
            reason=f"where the usual limit of {USUAL_UPLOADS_A_DAY} a day holds, this takes about {days} days",
            what_to_do="let `eurosky up` run: it goes on by itself after each wait; or ask the host's operator "
            "for a key that lifts the limit (EUROSKY_RATE_LIMIT_BYPASS)",
        )
    return Finding(name, Verdict.GO, found, needed)


def look_at_disk(migration: Migration, repo: RepoSize | None, blobs: BlobSizes | None, settings: Settings) -> Finding:
    """What the scratch and the artifacts of this migration take at the most at one time, against what is free.

    The exported CAR, once more as converted, both once more where the artifacts are on another disk, and as many of
    the largest blobs as are under way at once.
    """
    if repo is None:
        raise NotLookedAtError("the repository's size is not known")
    scratch, artifacts = standing(settings.home), str(settings.resolved_artifacts)
    is_elsewhere = "://" not in artifacts and standing(Path(artifacts)).stat().st_dev != scratch.stat().st_dev
    own = migration.convert_legacy_blobs
    is_converted = settings.is_legacy_conversion_enabled if own is None else own
    cars = repo.size_bytes * (2 if is_converted else 1)
    needs = {scratch: cars + (blobs.largest_bytes if blobs else 0) * settings.parallel_blobs + RESERVE_BYTES}
    if is_elsewhere:
        needs[standing(Path(artifacts))] = cars + RESERVE_BYTES
    free = {folder: shutil.disk_usage(folder).free for folder in needs}
    guess = "about " if repo.is_estimate or blobs is None or not blobs.is_exact else ""
    short = [str(folder) for folder in needs if free[folder] < needs[folder]]
    return Finding(
        "disk",
        Verdict.NO_GO if short else Verdict.GO,
        ", ".join(f"{size(free[folder])} free in {folder}" for folder in needs),
        ", ".join(f"{guess}{size(needs[folder])}" for folder in needs),
        reason=f"too little in {', '.join(short)}" if short else "",
        what_to_do="make room (`eurosky migrations purge` deletes what finished migrations left), or set EUROSKY_HOME "
        "and EUROSKY_ARTIFACTS to larger disks"
        if short
        else "",
    )
