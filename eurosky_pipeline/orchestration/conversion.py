"""What is told of a conversion: in the log, in the progress, and in the UI."""

from collections.abc import Iterable, Sequence
from typing import Any

from dagster import AssetExecutionContext, AssetObservation

from eurosky_pipeline.artifacts.store import Stored
from eurosky_pipeline.convert.convert_car import Conversion
from eurosky_pipeline.convert.convert_repo import ConvertedRepo, legacy_counts
from eurosky_pipeline.orchestration.metadata import banner, table, warned
from eurosky_pipeline.orchestration.steps import Step
from eurosky_pipeline.settings import LEGACY_TRANSFORM
from eurosky_pipeline.transfer.blobs import utc_now
from eurosky_pipeline.transfer.progress import ProgressSink
from eurosky_pipeline.words import human_bytes

NO_CONVERSION: dict[str, None] = dict.fromkeys(
    (
        "legacy_blob_conversion_started_at",
        "legacy_blob_conversion_completed_at",
        "legacy_blobs_converted",
        "converted_car_path",
    )
)
"""What `progress_data` says of a conversion, taken back: one that begins anew makes it untrue."""

_STAGE = "converted_car"
_REASONS_SHOWN = 5
_UNSIGNED = (
    "The commit of the converted repository is not signed by the account's key, which the source does not give out: 64 "
    "zero bytes stand in for a signature. The reference PDS takes it all the same, since it does not check signatures "
    "on import. After activation its own key signs the first commit that is made there, be it an `applyWrites` without "
    "writes; until then relays refuse the repository. A destination that does check signatures refuses the import: "
    "run it again with `--no-convert-legacy-blobs` there, and without other record transforms."
)
_HOW_TO_CONVERT = "--convert-legacy-blobs (or CONVERT_LEGACY_BLOBS=true) has them converted"
_STALE = (
    "Likes, replies and quotes of other accounts that name a converted record do so by its old CID, and go stale: "
    "only those accounts themselves could rewrite them. This account's own have been rewritten."
)


class ConversionTeller:
    """Follows one conversion, in the op's own thread: every line into the log, the beginning into progress and UI.

    Args:
        names: of the transforms that run; if there are none, there is no stage to show.
        size_bytes: of the file that is read.
    """

    def __init__(
        self,
        context: AssetExecutionContext,
        step: Step,
        progress: ProgressSink,
        names: Sequence[str],
        size_bytes: int,
    ) -> None:
        self._context, self._step, self._progress = context, step, progress
        self._work = "legacy blob conversion" if LEGACY_TRANSFORM in names else "record transforms"
        self._has_stage = bool(names)
        if self._has_stage:
            progress.begin(_STAGE, size_bytes, "B")

    def report(self, text: str) -> None:
        self._context.log.info(f"[{self._step.token}] {self._work}: {text}")

    def read(self, count: int) -> None:
        self._progress.advance(_STAGE, count)

    def found(self, legacy_refs: int) -> None:
        """There is something to do: it begins now, and the UI shows it while it lasts."""
        self._step.registry.record(self._step.token, {"legacy_blob_conversion_started_at": utc_now()})
        converting = banner(f"🔄 **Converting** {legacy_refs:,} legacy blob references")
        self._context.log_event(
            AssetObservation(
                self._context.asset_key,
                partition=self._context.partition_key,
                metadata={"summary": converting, "status": "converting", "legacy_blob_refs": legacy_refs},
            )
        )

    def end(self, converted: ConvertedRepo, uri: str) -> None:
        counts = legacy_counts(converted.conversion)
        for warning in warnings_of(converted):
            self._context.log.warning(f"[{self._step.token}] {warning}")
        if counts.get("refs_converted"):
            self._context.log.info(f"[{self._step.token}] legacy blobs converted: {uri}")
        if self._has_stage:
            self._progress.end(_STAGE, _in_short(converted.conversion))


def _in_short(conversion: Conversion | None) -> str:
    if conversion is None or not conversion.is_changed:
        return "nothing to convert"
    refs = legacy_counts(conversion).get("refs_converted", 0)
    return (
        f"{conversion.records_changed:,} records converted, for {refs:,} legacy references and "
        f"{conversion.strong_refs_rewritten:,} strong references that follow"
    )


def outcome_of(converted: ConvertedRepo, uri: str) -> dict[str, Any]:
    """The keys of `progress_data` that are known when a conversion has ended."""
    counts = legacy_counts(converted.conversion)
    return {
        "legacy_blob_conversion_completed_at": utc_now() if counts.get("refs_found") else None,
        "legacy_blobs_converted": counts.get("refs_converted", 0) > 0,
        "converted_car_path": uri,
    }


def warnings_of(converted: ConvertedRepo) -> list[str]:
    """What a person has to know: what was asked for, and could not be done."""
    counts = legacy_counts(converted.conversion)
    if converted.legacy_refs and not counts:
        return [_moved_as_they_are(converted)]
    kept, unknown = counts.get("refs_kept", 0), counts.get("sizes_unknown", 0)
    if not unknown:
        return []
    what = f"{kept} legacy blob references are kept as they are" if kept else "a size of -1 stands in for them"
    return [f"the source does not tell the sizes of {unknown} blobs with legacy references: {what}"]


def conversion_metadata(step: Step, converted: ConvertedRepo, kept: Stored) -> dict[str, Any]:
    """What the UI shows of the asset: a banner, where something was converted, and the numbers as numbers."""
    return {
        "summary": banner(*_told(converted)),
        **_tables_and_notes(converted),
        "legacy_blob_refs": converted.legacy_refs,
        **({} if converted.conversion is None else _numbers(converted, converted.conversion)),
        "warnings": warnings_of(converted),
        "exported_root": str(converted.exported_root),
        "root": str(converted.root),
        "size_bytes": converted.size_bytes,
        "sha256": kept.sha256,
        "duration_s": step.duration_s,
        "path": kept.uri,
    }


def _numbers(converted: ConvertedRepo, conversion: Conversion) -> dict[str, Any]:
    counts = legacy_counts(conversion)
    return {
        "records": conversion.records,
        "records_changed": conversion.records_changed,
        "refs_found": counts.get("refs_found", 0),
        "refs_converted": counts.get("refs_converted", 0),
        "refs_kept": counts.get("refs_kept", 0),
        "strong_refs_rewritten": conversion.strong_refs_rewritten,
        "sizes_known": counts.get("sizes_known", 0),
        "sizes_fetched": len(converted.sizes.sizes),
        "sizes_unknown": counts.get("sizes_unknown", 0),
        "rev": conversion.rev,
        "signature": str(conversion.signature),
        "nodes_rewritten": conversion.nodes_rewritten,
        "blocks_dropped": conversion.blocks_dropped,
    }


def _told(converted: ConvertedRepo) -> Iterable[str]:
    conversion, warnings = converted.conversion, warned(warnings_of(converted))
    if conversion is None or not conversion.is_changed:
        yield f"Passed on unchanged, {human_bytes(converted.size_bytes)}."
        yield from warnings or [_moved_as_they_are(converted)]
        return
    counts = legacy_counts(conversion)
    refs = f"{counts['refs_converted']:,} of {counts['refs_found']:,} legacy blob references, in " if counts else ""
    yield (
        f"✅ **Converted**: {refs}{conversion.records_changed:,} of {conversion.records:,} records; "
        f"{conversion.strong_refs_rewritten:,} strong references follow them."
    )
    yield from warnings


def _tables_and_notes(converted: ConvertedRepo) -> dict[str, Any]:
    conversion = converted.conversion
    if conversion is None:
        return {}
    transforms = [
        (name, version, ", ".join(f"{what} {count:,}" for what, count in did.items()))
        for name, version, did in conversion.transforms
    ]
    reasons = [(why, blob_cid) for blob_cid, why in converted.sizes.unknown.items()][:_REASONS_SHOWN]
    return {
        **table("transforms", ["transform", "version", "counts"], transforms),
        **table("blobs_without_size", ["why", "blob"], reasons),
        **({"about_the_signature": banner(_UNSIGNED)} if conversion.signature == "void" else {}),
        **({"about_others": _STALE} if conversion.is_changed else {}),
    }


def _moved_as_they_are(converted: ConvertedRepo) -> str:
    if not converted.legacy_refs:
        return "It holds no legacy blob references."
    why = "" if legacy_counts(converted.conversion) else f"; {_HOW_TO_CONVERT}"
    return f"It holds {converted.legacy_refs} legacy blob references, which are moved as they are{why}."
