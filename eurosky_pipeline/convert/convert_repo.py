"""The conversion of an exported repository as the pipeline does it: which transforms run, and what the source is asked.

What a transform does to a record is in `legacy_blobs` (and in plugins), how a file is rewritten in `convert_car`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eurosky_pipeline.artifacts.disk import link_or_copy
from eurosky_pipeline.atproto.car import read_root
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.summary import summarize
from eurosky_pipeline.convert.blob_sizes import BlobSizes, fetch_blob_sizes
from eurosky_pipeline.convert.convert_car import Conversion, convert_car
from eurosky_pipeline.plugins.manager import load_transforms
from eurosky_pipeline.plugins.record_transforms import RecordTransform, UnknownSize
from eurosky_pipeline.settings import LEGACY_TRANSFORM, Settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.retry import RetryPolicy

Report = Callable[[str], None]

_REASONS_TOLD = 5


@dataclass(frozen=True, slots=True)
class ConvertedRepo:
    """The CAR to import, and how it came to be.

    Attributes:
        exported_root: the commit's CID as the source has it; `root` is that of the CAR to import.
        legacy_refs: how many legacy blob references the exported repository holds.
        conversion: what the transforms did; None if there were none to run.
        sizes: what the source told of the blobs whose sizes the repository does not tell.
    """

    exported_root: Cid
    root: Cid
    size_bytes: int
    legacy_refs: int
    conversion: Conversion | None
    sizes: BlobSizes


class SourceSizes:
    """The sizes of blobs, asked of an account's source; `found` is what it has told.

    Args:
        source: makes the client, which nobody needs before a size is asked for.
        stop: ends the asking.
        report: told of the first blobs whose size the source does not tell, and why.
    """

    def __init__(
        self,
        source: Callable[[], XrpcClient],
        did: str,
        settings: Settings,
        stop: threading.Event,
        report: Report = lambda _: None,
    ) -> None:
        self.found = BlobSizes({}, {})
        self._source, self._did, self._settings, self._stop, self._report = source, did, settings, stop, report

    def __call__(self, cids: Collection[Cid]) -> Mapping[Cid, int]:
        """As many as can be had. Raises as `fetch_blob_sizes`."""
        retry = RetryPolicy(retries=self._settings.max_blob_retries, max_wait_s=self._settings.max_wait_s)
        told = fetch_blob_sizes(
            self._source(),
            self._did,
            cids,
            workers=self._settings.parallel_blobs,
            stop=self._stop,
            retry=retry,
            max_blob_bytes=self._settings.max_blob_bytes,
        )
        for cid, reason in islice(told.unknown.items(), _REASONS_TOLD):
            self._report(f"the size of {cid} is not known: {reason}")
        self.found = BlobSizes({**self.found.sizes, **told.sizes}, {**self.found.unknown, **told.unknown})
        return told.sizes


def chosen_transforms(settings: Settings, override: bool | None) -> tuple[str, ...]:
    """The names of the transforms that run on a migration's records, in their order.

    Args:
        override: whether this migration's legacy references are converted; None: as `CONVERT_LEGACY_BLOBS` says. Other
            transforms run wherever the settings name them.
    """
    is_wanted = settings.is_legacy_conversion_enabled if override is None else override
    return tuple(name for name in settings.record_transforms if is_wanted or name != LEGACY_TRANSFORM)


def convert_repo(
    exported: Path,
    target: Path,
    names: Sequence[str],
    *,
    unknown_size: UnknownSize,
    sizes: SourceSizes,
    report: Report,
    on_found: Callable[[int], None] = lambda _: None,
    on_read: Callable[[int], None] | None = None,
) -> ConvertedRepo:
    """Make `target` the repository to import: the exported one with its records transformed, or the very same bytes.

    Args:
        names: of the transforms, in order; without the one for legacy references, these are counted all the same.
        report: told in one line each what is being done; on_found: once, how many legacy references there are, before
            their conversion begins. Both are called in this thread.
        on_read: told of bytes as the exported file is read.

    Raises:
        IntegrityError: the exported file has been damaged since its export.
        FatalError: a transform is unknown, or failed, or wants a size that is not known (policy `fail`).
        Whatever asking the source raises. `target` is as it was then.
    """
    transforms = load_transforms(names)
    if not transforms:
        return _passed_on(exported, target)
    conversion = convert_car(
        exported,
        target,
        transforms,
        unknown_size=unknown_size,
        blob_sizes=sizes,
        report=_telling(report, on_found, transforms),
        on_read=on_read,
    )
    if not conversion.is_changed:
        link_or_copy(exported, target)
    counted = legacy_counts(conversion)
    return ConvertedRepo(
        exported_root=read_root(exported),
        root=conversion.root,
        size_bytes=target.stat().st_size,
        legacy_refs=counted["refs_found"] if counted else _legacy_refs(exported),
        conversion=conversion,
        sizes=sizes.found,
    )


def legacy_counts(conversion: Conversion | None) -> Mapping[str, int]:
    """What the transform of legacy references counted; empty where it was not to run."""
    ran = conversion.transforms if conversion else ()
    return next((counts for name, _, counts in ran if name == LEGACY_TRANSFORM), {})


def _passed_on(exported: Path, target: Path) -> ConvertedRepo:
    with open_repo(exported) as repo:
        summary, size_bytes = summarize(repo), repo.size_bytes
    link_or_copy(exported, target)
    return ConvertedRepo(summary.root, summary.root, size_bytes, summary.legacy_blob_refs, None, BlobSizes({}, {}))


def _legacy_refs(exported: Path) -> int:
    with open_repo(exported) as repo:
        return summarize(repo).legacy_blob_refs


def _telling(report: Report, on_found: Callable[[int], None], transforms: Sequence[RecordTransform]) -> Report:
    """`report`, with `on_found` told before the first line that comes after legacy references were found."""
    counting = next((transform for transform in transforms if transform.name == LEGACY_TRANSFORM), None)

    def tell(text: str) -> None:
        nonlocal counting
        if counting is not None and (found := counting.counts()["refs_found"]):
            counting = None
            on_found(found)
        report(text)

    return tell
