"""Pictures of the frames: a function each, from frames to a figure with title, units and axes that people can read.

They need matplotlib, from the extra `plots`. Nothing is drawn on a screen; `as_svg` makes text of a figure.
"""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.analytics.dagster_log import ASSETS
from eurosky_pipeline.analytics.facts import is_missing
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.ledger import ARRIVED
from eurosky_pipeline.registry.states import State

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, GREY, RED, GREEN, AMBER = "#2f6db5", "#9aa5b1", "#c0392b", "#3a8f5c", "#d69e2e"
_STATE_COLOURS: Final = {
    "pending_repo": GREY,
    "pending_blobs": BLUE,
    "pending_prefs": GREEN,
    "completed": GREEN,
    "waiting": AMBER,
    "failed": RED,
    "cancelled": "#5b6570",
}
_INK: Final = "#3e4c59"
_WIDTH, _HEIGHT = 8.0, 3.2  # inches
_NOTHING: Final = "nothing to show yet"
_FEWEST_BARS: Final = 3
_MAX_BARS: Final = 15
_MAX_LAYERS: Final = 5
_MAX_MONTHS: Final = 24
_LAYERS: Final = (BLUE, GREEN, AMBER, "#7b61a8", "#2a9d9c", GREY)


def throughput(progress: pd.DataFrame, every: str | timedelta = "10s") -> Figure:
    """What was sent a second over time, and how much in all: `analytics.progress`, by the same interval."""
    import pandas as pd

    figure, axes = _figure("Throughput", "", "MB/s")
    if not len(progress):
        return _empty(figure, axes)
    length: Any = pd.Timedelta(every)
    began: Any = progress["moment"] - length
    axes.bar(began, _floats(progress["bytes_per_s"]) / 1e6, width=length, align="edge", color=BLUE, alpha=0.7)
    total = axes.twinx()
    sent = [0.0, *(_floats(progress["bytes_sent"]) / 1e6)]
    total.plot([began.iloc[0], *progress["moment"]], sent, color=GREY, linewidth=1.5)
    total.set_ylabel("MB sent in all", color=GREY)
    total.spines["top"].set_visible(False)
    total.set_ylim(bottom=0)
    axes.set_ylim(bottom=0)
    _clock(axes)
    return figure


def blob_sizes(blobs: pd.DataFrame) -> Figure:
    """How large the blobs are that are at the destination (`size_bytes`, `outcome`)."""
    figure, axes = _figure("Blob sizes", "size", "blobs")
    there = blobs.loc[blobs["outcome"].isin(list(ARRIVED)), "size_bytes"]
    sizes = _floats(there[there.notna() & (there > 0)])
    if not len(sizes):
        return _empty(figure, axes)
    _histogram(axes, [sizes], [BLUE])
    axes.xaxis.set_major_formatter(lambda value, _: _bytes(value))
    return figure


def blob_durations(blobs: pd.DataFrame) -> Figure:
    """How long blobs took, from a worker's hand to the last answer (`duration_s`, `attempts`, `outcome`)."""
    figure, axes = _figure("Time a blob takes", "seconds", "blobs")
    tried = blobs[(blobs["attempts"] > 0) & blobs["duration_s"].notna()]
    seconds = _floats(tried["duration_s"]).clip(lower=1e-3)
    if not len(seconds):
        return _empty(figure, axes)
    is_there = tried["outcome"].isin(list(ARRIVED))
    labels = None if is_there.all() else ["arrived", "did not arrive"]
    _histogram(axes, [seconds[is_there], seconds[~is_there]], [GREEN, RED], labels)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.18)  # room for the words above the bars
    axes.axvline(float(seconds.median()), color=_INK, linewidth=1.2, linestyle=":")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.annotate(f" median {seconds.median():.3g} s", (float(seconds.median()), axes.get_ylim()[1] * 0.92), color=_INK)
    return figure


def workers(blobs: pd.DataFrame) -> Figure:
    """How many blobs were under way at once (`started_at`, `ended_at`, `attempts`)."""
    import pandas as pd

    figure, axes = _figure("Blobs under way at once", "", "blobs")
    tried = blobs[(blobs["attempts"] > 0) & blobs["started_at"].notna() & blobs["ended_at"].notna()]
    if not len(tried):
        return _empty(figure, axes)
    steps = pd.concat([pd.Series(1, index=tried["started_at"]), pd.Series(-1, index=tried["ended_at"])])
    level = steps.groupby(level=0).sum().sort_index().cumsum()
    axes.step(level.index, level.to_numpy(), where="post", color=BLUE)
    axes.fill_between(level.index, level.to_numpy(), step="post", color=BLUE, alpha=0.2)
    axes.set_ylim(bottom=0)
    _clock(axes)
    return figure


def failures(by_class: pd.DataFrame) -> Figure:
    """Blobs that are not at the destination, by why not (`analytics.failures_by_class`)."""
    figure, axes = _figure("Blobs that did not arrive, by reason", "blobs", "")
    if not len(by_class):
        return _empty(figure, axes, "every blob arrived")
    shown = by_class.head(_MAX_BARS).iloc[::-1]
    pairs = zip(shown["outcome"], shown["error_code"], strict=True)
    names = [
        str(outcome) if is_missing(code) or code in (outcome, "") else f"{outcome}: {code}" for outcome, code in pairs
    ]
    _bars(axes, names, shown["blobs"].tolist(), [RED] * len(names))
    return figure


def states(migrations: pd.DataFrame) -> Figure:
    """How many migrations stand where (`analytics.migrations`)."""
    figure, axes = _figure("Migrations by state", "migrations", "")
    counts = migrations["state"].value_counts()
    found = [(state, int(counts.get(state, 0))) for state in _STATE_COLOURS if counts.get(state, 0)]
    if not found:
        return _empty(figure, axes)
    found.reverse()
    _bars(axes, [name for name, _ in found], [count for _, count in found], [_STATE_COLOURS[name] for name, _ in found])
    return figure


def finished(migrations: pd.DataFrame, forecast_end: Any = None) -> Figure:
    """How many migrations of a cohort had all their blobs settled until when (`blobs_completed_at`, `state`).

    Args: forecast_end: when those that are pending will have, too; None where nobody can tell.
    """
    figure, axes = _figure("Migrations whose blobs are done", "", "migrations")
    ended = migrations["blobs_completed_at"].dropna().sort_values()
    if not len(ended):
        return _empty(figure, axes)
    axes.step([ended.iloc[0], *ended], range(len(ended) + 1), where="post", color=GREEN, label="blobs are done")
    axes.axhline(len(migrations), color=GREY, linewidth=1, linestyle=":", label=f"all {len(migrations):,} registered")
    if forecast_end is not None:
        pending = int(migrations["state"].isin([State.PENDING_REPO, State.PENDING_BLOBS]).sum())
        when, heights = [ended.iloc[-1], forecast_end], [len(ended), len(ended) + pending]
        axes.plot(when, heights, color=_INK, linestyle="--", label="forecast for those pending")
    axes.set_ylim(0, len(migrations) * 1.08)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _whole_numbers(axes.yaxis)
    _clock(axes)
    return figure


def durations(timings: pd.DataFrame) -> Figure:
    """How long each asset took (`analytics.asset_timings`): a bar each for one run, their spread for several."""
    figure, axes = _figure("Time an asset takes", "seconds", "")
    known = timings[timings["duration_s"].notna()]
    names = [name for name in reversed(ASSETS) if (known["asset"] == name).any()]
    if not names:
        return _empty(figure, axes)
    values = [_floats(known.loc[known["asset"] == name, "duration_s"]).to_numpy() for name in names]
    if max(map(len, values)) == 1:
        seconds = [float(each[0]) for each in values]
        axes.barh(names, seconds, color=BLUE, alpha=0.7, height=0.6)
        for place, value in enumerate(seconds):
            axes.annotate(f" {value:.2g} s" if value < 10 else f" {value:,.0f} s", (value, place), va="center")
        axes.margins(x=0.12)
    else:
        axes.set_xlabel("seconds (line: median; box: the middle half of the runs; rings: the odd ones)")
        line = {"color": _INK, "linewidth": 1.6}
        boxes = axes.boxplot(values, orientation="horizontal", tick_labels=names, patch_artist=True, medianprops=line)
        for box in boxes["boxes"]:
            box.set(facecolor=BLUE, alpha=0.4)
    axes.set_xlim(left=0)
    return figure


def records_by_month(records: pd.DataFrame) -> Figure:
    """How many records were made in each month, by collection: the largest ones by name (`analytics.records`)."""
    import pandas as pd

    figure, axes = _figure("Records by month", "", "records")
    dated = records[records["created_at"].notna()]
    if not len(dated):
        return _empty(figure, axes)
    largest = [str(name) for name in dated["collection"].value_counts().head(_MAX_LAYERS).index]
    named = dated["collection"].astype("object").where(dated["collection"].isin(largest), "others")
    months = dated["created_at"].dt.tz_localize(None).dt.to_period("M")
    every_month = pd.period_range(months.min(), months.max(), freq="M")
    counts = dated.groupby([months, named]).size().unstack(fill_value=0).reindex(every_month, fill_value=0)
    places = range(len(counts))
    bottom = counts.iloc[:, 0] * 0
    for name, colour in zip([*largest, "others"], _LAYERS, strict=False):
        if name in counts:
            axes.bar(places, counts[name], bottom=bottom, label=name, color=colour, width=0.8)
            bottom = bottom + counts[name]
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    _whole_numbers(axes.yaxis)
    step = 1 + len(counts) // _MAX_MONTHS
    axes.set_xticks(places[::step], [str(month) for month in every_month[::step]], rotation=60)
    return figure


def as_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, the same text for the same figure."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "eurosky", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _figure(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingsError(
            "plots need matplotlib, which is not installed",
            code="extra_missing",
            hint="pip install 'eurosky_pipeline[plots]'",
        ) from None
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#e6e9ed", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _empty(figure: Figure, axes: Axes, text: str = _NOTHING) -> Figure:
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _histogram(axes: Axes, groups: list[pd.Series[float]], colours: list[str], labels: list[str] | None = None) -> None:
    """Over a logarithmic axis: sizes and times span decades. The groups stand on each other."""
    import numpy as np
    import pandas as pd

    together = pd.concat(groups)
    bins = list(np.geomspace(float(together.min()) * 0.95, float(together.max()) * 1.05, 30))
    axes.hist(groups, bins=bins, color=colours, alpha=0.8, stacked=True, label=labels)
    axes.set_xscale("log")
    _whole_numbers(axes.yaxis)
    if labels:
        axes.legend(frameon=False, fontsize=8, loc="upper right")


def _bars(axes: Axes, names: list[str], counts: list[int], colours: list[str]) -> None:
    axes.barh(names, counts, color=colours, height=0.6)
    for place, count in enumerate(counts):
        axes.annotate(f" {count:,}", (count, place), va="center")
    _whole_numbers(axes.xaxis)
    axes.margins(x=0.12)
    spare = max(0, _FEWEST_BARS - len(names)) / 2  # one bar alone is not as high as the picture
    axes.set_ylim(-0.6 - spare, len(names) - 0.4 + spare)


def _whole_numbers(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _clock(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    formatter.formats[-1] = formatter.zero_formats[-1] = "%H:%M:%S.%f"  # trailing zeros are left out
    formatter.offset_formats[-3:] = ["%Y-%m-%d"] * 3
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlabel("UTC")


def _floats(values: pd.Series[Any]) -> pd.Series[float]:
    return values.astype("float64")


def _bytes(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} GB"
