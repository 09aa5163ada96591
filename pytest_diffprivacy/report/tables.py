"""The numbers behind a picture: short tables that say the same as the curve, the chart or the histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pytest_diffprivacy.evidence.records import Chart, Curve, Histogram, Table
from pytest_diffprivacy.report.text import number, whole

ROWS: Final = 25


def curve_tables(curve: Curve) -> tuple[Table, ...]:
    """Points of the curve and of its band, at most 25 of each, first and last included."""
    index = working_index(curve)
    rates = ("False positive rate", "True positive rate")
    points = _thinned("Points of the curve", rates, curve.fpr, curve.tpr, always=() if index is None else (index,))
    if not curve.band_fpr:
        return (points,)
    bounds = ("False positive rate at most", "Lower bound", "Upper bound")
    band = (curve.band_fpr, curve.band_low, curve.band_high)
    return points, _thinned("Bounds of the true positive rate", bounds, *band)


def chart_tables(chart: Chart) -> tuple[Table, ...]:
    """The points of every series, at most 25 of each, with their bounds where they have any."""
    tables = []
    for series in chart.series:
        bounds = {"Lower bound": series.low, "Upper bound": series.high} if series.low else {}
        columns = (chart.x_label, chart.y_label, *bounds)
        tables.append(_thinned(series.name or chart.title, columns, series.x, series.y, *bounds.values()))
    return tuple(tables)


def histogram_table(histogram: Histogram) -> Table:
    """Counts of every group; neighbouring bins are added up where there are more than 25."""
    edges, bins = histogram.edges, len(histogram.edges) - 1
    step = -(-bins // ROWS)
    rows = []
    for start in range(0, bins, step):
        counts = (whole(sum(group[start : start + step])) for group in histogram.groups.values())
        rows.append((f"{number(edges[start])} to {number(edges[min(start + step, bins)])}", *counts))
    caption = "Counts" if step == 1 else f"Counts, {step} neighbouring bins added up"
    return Table(caption=caption, columns=(histogram.label, *histogram.groups), rows=tuple(rows))


def working_index(curve: Curve) -> int | None:
    """The point that the claim is about: the last one whose FPR is at most the working FPR."""
    if curve.working_fpr is None:
        return None
    return max((i for i, fpr in enumerate(curve.fpr) if fpr <= curve.working_fpr), default=None)


def _thinned(caption: str, columns: tuple[str, ...], *values: Sequence[float], always: Sequence[int] = ()) -> Table:
    """At most 25 rows of these columns of numbers, evenly spread, ends and `always` included."""
    total = len(values[0])
    free = ROWS - len(always)
    kept = list(range(total))
    if total > ROWS:
        kept = sorted({round(i * (total - 1) / (free - 1)) for i in range(free)} | set(always))
        caption += f", {len(kept)} of {whole(total)}"
    return Table(caption=caption, columns=columns, rows=tuple(tuple(number(v[i]) for v in values) for i in kept))
