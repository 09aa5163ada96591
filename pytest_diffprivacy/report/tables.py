"""Which numbers stand behind a picture? Short tables that say the same as the curve or the histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pytest_diffprivacy.evidence.records import Chart, Curve, Histogram, Table
from pytest_diffprivacy.report.text import number, whole

ROWS: Final = 25


def curve_tables(curve: Curve) -> tuple[Table, ...]:
    """Points of the curve and of its band, at most 25 of each, first and last included."""
    points = [(number(curve.fpr[i]), number(curve.tpr[i])) for i in _spread(len(curve.fpr), _working_index(curve))]
    tables = [
        Table(
            caption=_caption("Points of the curve", len(points), len(curve.fpr)),
            columns=("False positive rate", "True positive rate"),
            rows=tuple(points),
        )
    ]
    if curve.band_fpr:
        kept = _spread(len(curve.band_fpr))
        band = [(number(curve.band_fpr[i]), number(curve.band_low[i]), number(curve.band_high[i])) for i in kept]
        caption = _caption("Bounds of the true positive rate", len(band), len(curve.band_fpr))
        columns = ("False positive rate at most", "Lower bound", "Upper bound")
        tables.append(Table(caption=caption, columns=columns, rows=tuple(band)))
    return tuple(tables)


def histogram_table(histogram: Histogram) -> Table:
    """Counts of every group; neighbouring bins are added up where there are more than 25."""
    bins = len(histogram.edges) - 1
    step = -(-bins // ROWS)
    starts = range(0, bins, step)
    rows = [
        (
            f"{number(histogram.edges[start])} to {number(histogram.edges[min(start + step, bins)])}",
            *(whole(sum(counts[start : start + step])) for counts in histogram.groups.values()),
        )
        for start in starts
    ]
    caption = "Counts" if step == 1 else f"Counts, {step} neighbouring bins added up"
    return Table(caption=caption, columns=(histogram.label, *histogram.groups), rows=tuple(rows))


def chart_tables(chart: Chart) -> tuple[Table, ...]:
    """The points of every series, at most 25 of each, with their bounds where they have any."""
    tables = []
    for series in chart.series:
        kept = _spread(len(series.x))
        bounded = bool(series.low)
        rows = [
            (
                number(series.x[i]),
                number(series.y[i]),
                *((number(series.low[i]), number(series.high[i])) if bounded else ()),
            )
            for i in kept
        ]
        columns = (chart.x_label, chart.y_label, *(("Lower bound", "Upper bound") if bounded else ()))
        caption = _caption(series.name or chart.title, len(kept), len(series.x))
        tables.append(Table(caption=caption, columns=columns, rows=tuple(rows)))
    return tuple(tables)


def _caption(what: str, shown: int, total: int) -> str:
    return what if shown == total else f"{what}, {shown} of {whole(total)}"


def _working_index(curve: Curve) -> tuple[int, ...]:
    index = working_index(curve)
    return () if index is None else (index,)


def working_index(curve: Curve) -> int | None:
    """The point that the claim is about: the last one whose FPR is at most the working FPR."""
    if curve.working_fpr is None:
        return None
    return max((i for i, fpr in enumerate(curve.fpr) if fpr <= curve.working_fpr), default=None)


def _spread(count: int, always: Sequence[int] = ()) -> list[int]:
    """Indices of at most 25 of `count` entries, evenly spread, ends and `always` included."""
    if count <= ROWS:
        return list(range(count))
    free = ROWS - len(always)
    return sorted({round(i * (count - 1) / (free - 1)) for i in range(free)} | set(always))
