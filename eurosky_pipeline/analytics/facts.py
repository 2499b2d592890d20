"""What a report says of a migration, as names and values; and cells of frames, of which some may be missing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.words import human_bytes, one_line

if TYPE_CHECKING:
    import pandas as pd

    from eurosky_pipeline.analytics.account import AccountReport

_LONGEST_TEXT: Final = 120
_WORTH_TELLING_S: Final = 1


def facts(report: AccountReport) -> list[tuple[str, str]]:
    """What a person asks first of a migration, name and value."""
    row, rate, left = report.migration, report.rate, report.left
    share = "" if rate.share is None else f" ({rate.share:.1%})"
    arrived = f"{rate.part:,} of {rate.whole:,} that were tried{share}"
    pairs = [
        ("state", str(row["state"])),
        ("because", f"{row['error_text']} [{row['error_code']}]" if row["error_code"] else ""),
        ("from", str(row["source_pds"])),
        ("to", str(row["destination_pds"])),
        ("attempts", str(row["attempts"])),
        ("blobs at the destination", _before_purge(report) if report.is_purged else arrived),
        ("blobs left", f"{left.blobs_left:,}" if left.blobs_left and not report.is_purged else ""),
        ("time left", "" if report.is_purged else _time_left(report)),
        ("sent", human_bytes(report.pace["size_bytes"]) if report.pace else ""),
        ("pace", _pace(report)),
        ("under way at once", "" if report.under_way is None else f"{report.under_way:.1f} blobs, on average"),
        ("waited for hosts", human_seconds(report.waited_s) if report.waited_s else ""),
        ("reconciliation", str(row["reconciliation_status"] or "")),
    ]
    return [(name, value) for name, value in pairs if value]


def without_failures(report: AccountReport) -> str:
    """What is to be said of a migration of which no blob is known that is not at the destination."""
    if report.is_purged:
        return f"it was purged on {_day(report)}: which blobs did not arrive is not known any more"
    return "every blob that was tried is at the destination" if report.rate.whole else "no blob was tried yet"


def human_seconds(seconds: Any) -> str:
    """`0.25` → `0.25 s`, `95` → `1 min 35 s`; a dash for what is missing."""
    if is_missing(seconds):
        return "–"
    whole = round(float(seconds))
    if whole < 60:
        return f"{float(seconds):.2f} s" if float(seconds) < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON has them: moments in ISO 8601, None for what is missing."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def size_or_dash(size_bytes: Any) -> str:
    """`1536` → `1.5 KiB`; a dash for what is missing."""
    return "–" if is_missing(size_bytes) else human_bytes(float(size_bytes))


def text_or_dash(text: Any) -> str:
    """A stranger's text, in a cell of a terminal's table."""
    return one_line(missing_as_dash(text), _LONGEST_TEXT)


def missing_as_dash(value: Any) -> str:
    return "–" if is_missing(value) else str(value)


def is_missing(value: Any) -> bool:
    """Whether it is one of the several ways in which pandas says that there is nothing."""
    import pandas as pd

    return value is None or bool(pd.isna(value))


def _plain(value: Any) -> Any:
    if is_missing(value):
        return None
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


def _before_purge(report: AccountReport) -> str:
    row = report.migration
    completed, total = row["blobs_completed"] or 0, row["blobs_total"] or 0
    return f"{completed:,} of {total:,}, as it stood when it was purged on {_day(report)}"


def _day(report: AccountReport) -> str:
    return str(report.migration["purged_at"])[:10]


def _time_left(report: AccountReport) -> str:
    left = report.left
    if not left.blobs_left:
        return ""
    if left.seconds is None:
        return "nobody can tell: nothing has moved yet"
    return f"{human_seconds(left.seconds)}, as it went lately"


def _pace(report: AccountReport) -> str:
    if not report.pace or not report.pace["span_s"]:
        return ""
    blobs, size = report.pace["blobs_per_s"], report.pace["bytes_per_s"]
    span_s, tried_s = report.pace["span_s"], report.tried_s
    is_longer = tried_s is not None and tried_s >= span_s + _WORTH_TELLING_S
    beside = f"; with tries in vain, {human_seconds(tried_s)}" if is_longer else ""
    return f"{blobs:.1f} blobs/s, {human_bytes(size)}/s in the {human_seconds(span_s)} in which blobs arrived{beside}"
