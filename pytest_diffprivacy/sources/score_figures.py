"""Scores as figures of a record: histograms over common bins and ROC curves with their bands."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.sources.source import Pair, Vector
from pytest_diffprivacy.statistics import roc_band, roc_curve, score_histogram

POINTS_DRAWN = 200


@dataclass(frozen=True, slots=True)
class WorkingPoint:
    """Where a ROC is judged: at a FPR, against a limit of the TPR, with bounds of a confidence."""

    fpr: float
    limit: float
    confidence: float


def roc_record(title: str, pair: Pair, working: WorkingPoint) -> records.Curve:
    """The ROC, thinned for drawing, with its pointwise band and the working point."""
    curve, band = roc_curve(*pair).thinned(POINTS_DRAWN), roc_band(*pair, confidence=working.confidence)
    return records.Curve(
        title=title,
        fpr=tuple(curve.fpr.tolist()),
        tpr=tuple(curve.tpr.tolist()),
        band_fpr=tuple(band.max_fpr.tolist()),
        band_low=tuple(band.low.tolist()),
        band_high=tuple(band.high.tolist()),
        working_fpr=working.fpr,
        limit=working.limit,
        confidence=working.confidence,
        smallest_fpr=1.0 / len(pair[1]),
    )


def histogram_record(
    title: str,
    axis: str,
    first: Vector,
    second: Vector,
    *,
    names: tuple[str, str] = ("members", "non-members"),
    mark: float | None = None,
    mark_label: str = "",
) -> records.Histogram:
    """Two groups over common bins."""
    counted = score_histogram(first, second)
    return records.Histogram(
        title=title,
        label=axis,
        edges=tuple(counted.edges.tolist()),
        groups={names[0]: tuple(counted.members.tolist()), names[1]: tuple(counted.nonmembers.tolist())},
        mark=mark,
        mark_label=mark_label,
    )
