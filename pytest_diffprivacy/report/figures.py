"""ROC curves, histograms and charts as inline SVG; `name` is the prefix of a picture's ids, unique in its document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pytest_diffprivacy.evidence.records import Chart, Curve, Histogram, Series
from pytest_diffprivacy.report.svg import BAND, FIRST, GROUND, INK, SECOND, SOFT, Entries, Words, draw, plain_label
from pytest_diffprivacy.report.tables import working_index
from pytest_diffprivacy.report.text import number, one_line, whole

SMALLEST_RATE: Final = 1e-6
SHORT: Final = 18
"""Characters of which two stand side by side in a legend."""


def roc_figure(curve: Curve, name: str) -> str:
    """The ROC on logarithmic axes with its band, the working point, the limit and what guessing would achieve.

    Rates of 0 are drawn on the edge of the picture.
    """
    marks = (curve.smallest_fpr, curve.working_fpr)
    left = max(0.7 * min(mark for mark in marks if mark), SMALLEST_RATE) if any(marks) else SMALLEST_RATE
    heights = [rate for rate in (*curve.tpr, curve.limit, left) if rate]
    floor = max(0.7 * min(heights), SMALLEST_RATE)

    def paint(axes: Axes) -> Entries:
        entries: Entries = []
        if curve.band_fpr:
            low = _at_least(curve.band_low, floor)
            axes.fill_between(_at_least(curve.band_fpr, left), low, curve.band_high, color=BAND, lw=0)
            entries.append((Patch(facecolor=BAND), f"its {curve.confidence:.0%} bounds"))
        fpr, tpr = _at_least(curve.fpr, left), _at_least(curve.tpr, floor)
        (line,) = axes.plot(fpr, tpr, color=FIRST, linewidth=2.2, drawstyle="steps-post")
        entries.insert(0, (line, "the attack"))
        (chance,) = axes.plot([left, 1.0], [left, 1.0], color=SOFT, linewidth=1.2, linestyle=(0, (1.5, 2.5)))
        entries.append((chance, "guessing"))
        _mark_working_point(axes, curve, left, floor, entries)
        axes.set(xscale="log", yscale="log", xlim=(left, 1.0), ylim=(floor, 1.15))
        _log_ticks(axes.xaxis, left)
        _log_ticks(axes.yaxis, floor)
        axes.set(xlabel="False positive rate (log)", ylabel="True positive rate (log)")
        return entries

    return draw(paint, _roc_words(curve), name, columns=2)


def _mark_working_point(axes: Axes, curve: Curve, left: float, floor: float, entries: Entries) -> None:
    working, index = curve.working_fpr, working_index(curve)
    if working:
        line = axes.axvline(working, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        entries.append((line, f"largest FPR allowed: {number(working)}"))
    if curve.limit is not None:
        across = [left, working or 1.0]
        (limit,) = axes.plot(across, [max(curve.limit, floor)] * 2, color=SECOND, linewidth=2.6, linestyle="-.")
        entries.append((limit, f"limit of the TPR: {number(curve.limit)}"))
    if working and index is not None:
        style: dict[str, Any] = {"marker": "o", "markersize": 8, "markeredgewidth": 1.8}
        style |= {"markerfacecolor": GROUND, "markeredgecolor": INK, "linestyle": "none"}
        (point,) = axes.plot([working], [max(curve.tpr[index], floor)], zorder=5, **style)
        entries.append((point, f"observed TPR: {number(curve.tpr[index])}"))


def _roc_words(curve: Curve) -> Words:
    parts = ["True positive rate against false positive rate, both axes logarithmic."]
    index = working_index(curve)
    if curve.working_fpr is not None and index is not None:
        parts.append(
            f"At a false positive rate of at most {number(curve.working_fpr)} "
            f"the true positive rate is {number(curve.tpr[index])}."
        )
    if curve.limit is not None:
        parts.append(f"The limit is {number(curve.limit)}.")
    parts.append(f"The smallest false positive rate that can be told from zero is {number(curve.smallest_fpr)}.")
    return Words(f"ROC curve: {one_line(curve.title, 200)}", " ".join(parts))


def _log_ticks(axis: Any, smallest: float) -> None:
    subs = (1.0,) if smallest < 0.02 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())  # they cost half of the drawing time


def _even_ticks(axis: Any, written: Callable[[float], str] = number, *, whole_numbers: bool = False) -> None:
    axis.set_major_locator(MaxNLocator(5, integer=whole_numbers))
    axis.set_major_formatter(FuncFormatter(lambda value, _: written(float(value))))


# The first group is hatched, the second only outlined: they can be told apart on a grey print-out.
_STYLES: Final[Sequence[dict[str, Any]]] = (
    {"facecolor": BAND, "edgecolor": FIRST, "linewidth": 1.6, "hatch": "////", "fill": True},
    {"facecolor": "none", "edgecolor": SECOND, "linewidth": 2.4, "linestyle": (0, (4, 1.5)), "fill": False},
    {"facecolor": "none", "edgecolor": INK, "linewidth": 2.0, "linestyle": (0, (1, 1.5)), "fill": False},
)


def histogram_figure(histogram: Histogram, name: str) -> str:
    """Groups over common bins as shares of each group, with the threshold marked."""

    def paint(axes: Axes) -> Entries:
        entries: Entries = []
        for position, (group, counts) in enumerate(histogram.groups.items()):
            style = _STYLES[position % len(_STYLES)]
            total = sum(counts) or 1
            axes.stairs([100.0 * count / total for count in counts], histogram.edges, **style)
            shown = {key: value for key, value in style.items() if key != "fill"}
            entries.append((Patch(**shown), f"{one_line(group, 30)} ({whole(sum(counts))})"))
        if histogram.mark is not None:
            line = axes.axvline(histogram.mark, color=INK, linewidth=1.6, linestyle="-.")
            entries.append((line, f"{one_line(histogram.mark_label, 26) or 'threshold'}: {number(histogram.mark)}"))
        axes.set_ylim(bottom=0.0)
        _even_ticks(axes.xaxis)
        _even_ticks(axes.yaxis, lambda value: f"{value:g}%")
        axes.set(xlabel=plain_label(histogram.label), ylabel="Share of the group")
        return entries

    groups = " and ".join(f"{group} ({whole(sum(counts))})" for group, counts in histogram.groups.items())
    description = f"Distribution of {histogram.label} for {groups}, as shares of each group."
    if histogram.mark is not None:
        description += f" A line marks {histogram.mark_label or 'the threshold'} at {number(histogram.mark)}."
    return draw(paint, Words(f"Histogram: {one_line(histogram.title, 200)}", description), name, columns=1)


# Lines of a chart are told apart by marker and dash as well as by colour.
_LINES: Final[Sequence[dict[str, Any]]] = (
    {"color": FIRST, "marker": "o", "linestyle": "-"},
    {"color": SECOND, "marker": "s", "linestyle": (0, (5, 2))},
    {"color": INK, "marker": "^", "linestyle": (0, (1.5, 1.5))},
    {"color": SOFT, "marker": "D", "linestyle": (0, (6, 2, 1.5, 2))},
)


def chart_figure(chart: Chart, name: str) -> str:
    """Series against a common axis, with their bounds as bars; on a logarithmic axis what is below lies on its edge."""
    left = _edge([x for series in chart.series for x in series.x]) if chart.log_x else None
    floor = _edge([y for series in chart.series for y in (*series.y, *series.low)]) if chart.log_y else None

    def paint(axes: Axes) -> Entries:
        entries: Entries = []
        for position, series in enumerate(chart.series):
            style = _LINES[position % len(_LINES)] | ({} if chart.joined else {"linestyle": "none"})
            x, y = _at_least(series.x, left), _at_least(series.y, floor)
            (line,) = axes.plot(x, y, linewidth=1.8, markersize=5.0, **style)
            if series.low:
                low, high = _at_least(series.low, floor), _at_least(series.high, floor)
                axes.vlines(x, low, high, color=style["color"], linewidth=1.4)
            entries.append((line, series.name))
        counted = all(x.is_integer() for series in chart.series for x in series.x)
        for logarithmic, axis in ((chart.log_x, "x"), (chart.log_y, "y")):
            if logarithmic:
                axes.set(**{f"{axis}scale": "log"})
                _log_ticks(getattr(axes, f"{axis}axis"), 0.5)
            else:
                _even_ticks(getattr(axes, f"{axis}axis"), whole_numbers=axis == "x" and counted)
        axes.set(xlabel=plain_label(chart.x_label), ylabel=plain_label(chart.y_label))
        return entries

    parts = [f"{chart.y_label} against {chart.x_label}.", *map(_series_words, chart.series)]
    words = Words(f"Chart: {one_line(chart.title, 200)}", " ".join(part for part in parts if part))
    short = all(len(series.name) <= SHORT for series in chart.series)
    return draw(paint, words, name, columns=2 if short and len(chart.series) > 3 else 1)


def _edge(values: Sequence[float]) -> float:
    return max(min((value for value in values if value > 0.0), default=1.0), SMALLEST_RATE)


def _at_least(values: Sequence[float], edge: float | None) -> list[float]:
    return list(values) if edge is None else [max(value, edge) for value in values]


def _series_words(series: Series) -> str:
    if not series.x:
        return ""
    ends = f"from {number(series.y[0])} at {number(series.x[0])} to {number(series.y[-1])} at {number(series.x[-1])}"
    return f"{series.name}: {ends}."
