"""A migration's report as one HTML file: figures, tables and pictures, and nothing that is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.analytics import plots
from eurosky_pipeline.analytics.account import AccountReport
from eurosky_pipeline.analytics.facts import facts, human_seconds, missing_as_dash, size_or_dash, without_failures

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_WORD: Final = 24
"""Characters; a longer one (a CID, a record's key) may be broken anywhere, so that a table stays on the page."""
_STYLE: Final = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1f2933; }
body { max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.lead { color: #52606d; margin-top: .2rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e4e7eb; vertical-align: top; }
td { overflow-wrap: anywhere; } td.word { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: #52606d; } dd { margin: 0; }
svg { max-width: 100%; height: auto; margin: .6rem 0; }
footer { margin-top: 3rem; color: #7b8794; font-size: .8rem; }
"""


def account_page(report: AccountReport) -> str:
    """The whole file. Text of strangers (reasons, handles, hosts) stands there as text. Raises SettingsError: no
    matplotlib."""
    row = report.migration
    title = f"{row['handle'] or row['did']}: {row['state']}"
    pictures = (
        plots.throughput(report.progress, report.every),
        plots.workers(report.drawn),
        plots.blob_sizes(report.drawn),
        plots.blob_durations(report.drawn),
        plots.failures(report.failures),
        plots.durations(report.timings),
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(str(row["token"]))} · {escape(str(row["did"]))}</p>',
        _facts(facts(report)),
        "<h2>Which blobs did not arrive, and why</h2>",
        _failures(report),
        "<h2>How it went</h2>",
        *map(plots.as_svg, pictures),
        "<h2>Attempts</h2>",
        _table(
            ["#", "run", "began", "took", "ended in", "because"],
            [
                (a.number, a.run_id, _moment(a.started_at), human_seconds(a.duration_s), a.ended_in, _because(a))
                for a in report.attempts.itertuples()
            ],
        ),
        "<h2>The largest blobs</h2>",
        _blobs(report.largest),
        "<h2>Those that took longest</h2>",
        _blobs(report.slowest),
    ]
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<footer>made by `eurosky report` at {made}</footer>\n</body></html>\n"
    )


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs) + "</dl>"


def _failures(report: AccountReport) -> str:
    if report.failures.empty:
        return f"<p>{escape(without_failures(report))}</p>"
    why = _table(
        ["outcome", "code", "blobs", "for example"],
        [(f.outcome, f.error_code, f.blobs, f.example) for f in report.failures.itertuples()],
    )
    count = int(report.failures["blobs"].sum())
    shown = len(report.not_there)
    more = (
        f"<p>{shown} of {count:,}; <code>eurosky migrations show --all-blobs</code> has all.</p>"
        if shown < count
        else ""
    )
    named = _table(
        ["blob", "outcome", "a record that names it", "type and size, says the record", "reason"],
        [
            (
                b.blob_cid,
                b.outcome,
                b.named_by,
                f"{missing_as_dash(b.mime_type)}, {size_or_dash(b.size_bytes)}",
                b.reason,
            )
            for b in report.not_there.itertuples()
        ],
    )
    return why + "<p></p>" + named + more


def _blobs(frame: pd.DataFrame) -> str:
    return _table(
        ["blob", "outcome", "size", "type", "requests", "took"],
        [
            (
                b.blob_cid,
                b.outcome,
                size_or_dash(b.size_bytes or None),
                b.mime_type,
                b.attempts,
                human_seconds(b.duration_s),
            )
            for b in frame.itertuples()
        ],
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    text = missing_as_dash(value)
    is_word = len(text) <= _LONGEST_WORD and " " not in text
    kind = "number" if isinstance(value, int) else "word" if is_word else "text"
    return f'<td class="{kind}">{escape(text)}</td>'


def _because(attempt: Any) -> str:
    text, code = missing_as_dash(attempt.error_text), missing_as_dash(attempt.error_code)
    return "" if code == "–" else f"{text} [{code}]"


def _moment(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"
