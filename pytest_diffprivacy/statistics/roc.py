"""ROC: what the attack achieves at every threshold, and the histogram of its scores.

The exact ROC (all distinct scores, ties one step), its pointwise confidence band, a thinned copy for plots,
and a histogram of both sets. Nothing here decides; decisions use `tpr_at_fpr` and `auroc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    IntArray,
    Interval,
    check_count,
    check_fraction,
    check_scores,
    check_sides,
    check_significance,
)
from pytest_diffprivacy.statistics.tpr import tpr_bounds


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """Every operating point "score >= threshold", from (0, 0) at infinity to (1, 1); shapes (points,)."""

    fpr: FloatArray
    tpr: FloatArray
    thresholds: FloatArray
    members: int
    nonmembers: int

    def thinned(self, points: int = 400) -> RocCurve:
        """Return at most `points` vertices that look the same when plotted, on linear and on log axes.

        Vertices inside a straight horizontal or vertical run go first, which changes nothing. If more must
        go, the rest is picked evenly along the curve, its length measured on both kinds of axes at once:
        every vertex left out lies between two kept ones that are at most 8 / (points - 3) of an axis apart.

        Args:
            points: at least 10.

        Returns:
            A curve whose points are a subset of this one's, end points included.

        Raises:
            UsageError: `points` is below 10.

        Source: ours.
        """
        points = check_count("points", points, least=10)
        flat, steep = np.diff(self.tpr) == 0.0, np.diff(self.fpr) == 0.0
        inside = (flat[:-1] & flat[1:]) | (steep[:-1] & steep[1:])
        kept = np.flatnonzero(np.concatenate(([True], ~inside, [True])))
        if kept.size > points:
            along = self._length()[kept]
            marks = np.linspace(0.0, along[-1], points // 2)
            before = np.searchsorted(along, marks, "right") - 1
            after = np.searchsorted(along, marks, "left")
            kept = kept[np.union1d(before, after)]
        return RocCurve(self.fpr[kept], self.tpr[kept], self.thresholds[kept], self.members, self.nonmembers)

    def _length(self) -> FloatArray:
        log_fpr = np.log1p(self.fpr * self.nonmembers) / np.log1p(self.nonmembers)
        log_tpr = np.log1p(self.tpr * self.members) / np.log1p(self.members)
        return np.asarray(self.fpr + self.tpr + log_fpr + log_tpr, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class RocBand:
    """Bounds of the TPR at each FPR limit; each holds on its own, not all of them at once."""

    max_fpr: FloatArray
    low: FloatArray
    high: FloatArray
    members: int
    nonmembers: int
    confidence: float
    interval: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts of both sets over common bins; `edges` has one entry more than the counts."""

    edges: FloatArray
    members: IntArray
    nonmembers: IntArray


def roc_curve(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> RocCurve:
    """Return the exact ROC; **a higher score means more likely a member**.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.

    Returns:
        A point for every distinct score (equal scores are one step) and the start at (0, 0).

    Raises:
        UsageError: an argument is wrong.

    Source: METHODS 7.2.
    """
    member, nonmember = (np.sort(side) for side in check_sides(member_scores, nonmember_scores))
    thresholds = np.concatenate(([np.inf], np.unique(np.concatenate((member, nonmember)))[::-1]))
    fpr = (nonmember.size - np.searchsorted(nonmember, thresholds, "left")) / nonmember.size
    tpr = (member.size - np.searchsorted(member, thresholds, "left")) / member.size
    return RocCurve(fpr, tpr, thresholds, member.size, nonmember.size)


def roc_band(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    max_fprs: ArrayLike | None = None,
    confidence: float = 0.95,
    interval: Interval = "one-sided",
) -> RocBand:
    """Return bounds of the TPR at a grid of FPR limits, the same as `tpr_at_fpr` gives at each of them.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.
        max_fprs: FPR limits in (0, 1), shape (m,); by default 63 limits, even on a log and on a linear axis.
        confidence: in (0.5, 1), at each limit.
        interval: as in `tpr_at_fpr`.

    Returns:
        The bounds in order of rising FPR; limits below 1 / n0 are left out, so the band may have no point at
        all.

    Raises:
        UsageError: an argument is wrong.

    Source: METHODS 7.2.
    """
    significance = check_significance(confidence, interval)
    member, nonmember = check_sides(member_scores, nonmember_scores)
    nonmember = np.sort(nonmember)[::-1]
    finest = 1.0 / nonmember.size
    if max_fprs is None:
        limits = np.union1d(np.geomspace(finest, 1.0, 33)[:-1], np.linspace(0.0, 1.0, 33)[1:-1])
    else:
        limits = np.unique(check_scores("max_fprs", max_fprs))
        check_fraction("max_fprs", float(limits[0]))
        check_fraction("max_fprs", float(limits[-1]))
    limits = limits[(limits >= finest) & (limits < 1.0)]
    bounds = [tpr_bounds(member, nonmember, float(x), significance) for x in limits]
    low = np.array([bound.low for bound in bounds], dtype=np.float64)
    high = np.array([bound.high for bound in bounds], dtype=np.float64)
    return RocBand(limits, low, high, member.size, nonmember.size, float(confidence), interval)


def score_histogram(member_scores: ArrayLike, nonmember_scores: ArrayLike, bins: int = 40) -> Histogram:
    """Count members and non-members over common bins of equal width.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.
        bins: number of bins, at least 1.

    Returns:
        Edges from the smallest to the largest score (one unit wider each side if all are equal) and both
        counts.

    Raises:
        UsageError: an argument is wrong.

    Source: ours.
    """
    member, nonmember = check_sides(member_scores, nonmember_scores)
    bins = check_count("bins", bins, least=1)
    low = float(min(member.min(), nonmember.min()))
    high = float(max(member.max(), nonmember.max()))
    edges = _edges(low, high, bins)
    if not (np.diff(edges) > 0.0).all():  # closer together than floats can be divided
        margin = max(1.0, abs(low) * 1e-9)
        edges = _edges(low - margin, high + margin, bins)
    return Histogram(edges, _counts(member, edges), _counts(nonmember, edges))


def _edges(low: float, high: float, bins: int) -> FloatArray:
    # Halved first: the distance of two finite floats may be infinite.
    edges = np.linspace(low / 2.0, high / 2.0, bins + 1) * 2.0
    edges[0], edges[-1] = low, high
    return edges


def _counts(scores: FloatArray, edges: FloatArray) -> IntArray:
    return np.histogram(scores, edges)[0].astype(np.int64)
