"""Which numbers stand behind a picture? Short tables that say the same as the curve or the histogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.records import Curve, Histogram
from pytest_diffprivacy.report.text import number, whole

ROWS: Final = 25


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def curve_tables(curve: Curve) -> tuple[Table, ...]:
    """Points of the curve and of its band, at most 25 of each, first and last included."""
    points = [(number(curve.fpr[i]), number(curve.tpr[i])) for i in _spread(len(curve.fpr), _working_index(curve))]
    tables = [
        Table(
            _caption("Points of the curve", len(points), len(curve.fpr)),
            ("False positive rate", "True positive rate"),
            tuple(points),
        )
    ]
    if curve.band_fpr:
        kept = _spread(len(curve.band_fpr))
        band = [(number(curve.band_fpr[i]), number(curve.band_low[i]), number(curve.band_high[i])) for i in kept]
        caption = _caption("Bounds of the true positive rate", len(band), len(curve.band_fpr))
        tables.append(Table(caption, ("False positive rate at most", "Lower bound", "Upper bound"), tuple(band)))
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
    return Table(caption, (histogram.label, *histogram.groups), tuple(rows))


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
