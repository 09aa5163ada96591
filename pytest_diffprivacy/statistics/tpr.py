"""TPR at a limited FPR: the members recognised when at most a share x of the non-members may be flagged by mistake.

The threshold of that rate is itself estimated from the non-members. The usual recipe (a binomial interval at
the threshold that was picked) forgets this and covers 20-87 % at nominal 95 %. The bounds here bound the
threshold by an order statistic of the non-members and the rate above it by Clopper-Pearson, half of the
significance each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    Interval,
    check_fraction,
    check_sides,
    check_significance,
)
from pytest_diffprivacy.statistics.binomial import lower_bound, upper_bound
from pytest_diffprivacy.statistics.ranks import Ranks, find_ranks, values_needed
from pytest_diffprivacy.statistics.verdict import Bounded


@dataclass(frozen=True, slots=True)
class TprAtFpr(Bounded):
    """The largest TPR with FPR <= `max_fpr`, with bounds that include the error of its threshold.

    Attributes:
        value: the largest TPR whose empirical FPR is at most `max_fpr`; biased up for few non-members.
        low: lower confidence bound; 0 if no order statistic bounds the threshold from above.
        high: upper confidence bound; 1 if no order statistic bounds the threshold from below.
        threshold: "score >= threshold" reaches `value` with the fewest false positives; None if `value` is 0.
        fpr: empirical FPR of that threshold, 0 if there is none.
        rank_low: rank of the non-member (1 = highest score) behind `low`; None where none will do.
        rank_high: the same for `high`.
        confidence: of each bound (`"one-sided"`) or of both together (`"two-sided"`).
    """

    threshold: float | None
    max_fpr: float
    fpr: float
    rank_low: int | None
    rank_high: int | None
    members: int
    nonmembers: int
    interval: Interval


def tpr_at_fpr(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    max_fpr: float,
    confidence: float = 0.95,
    interval: Interval = "one-sided",
) -> TprAtFpr:
    """Measure the TPR at a limited FPR; **a higher score means more likely a member**.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite, independent of each other and of the members.
        max_fpr: the largest share of non-members that may be flagged, in (0, 1).
        confidence: in (0.5, 1).
        interval: `"one-sided"`: each bound at `confidence`; `"two-sided"`: each bound at half the
            significance.

    Returns:
        The estimate with its bounds, threshold, ranks and counts. The bounds hold for any distribution of
        scores, exactly in finite samples, and are conservative with ties.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: `max_fpr` is below 1 / n0, the resolution of the non-members.

    Source: Implements METHODS 7.2 (order statistic plus Clopper-Pearson, Bonferroni).
    """
    significance = check_significance(confidence, interval)
    x = check_fraction("max_fpr", max_fpr)
    member, nonmember = check_sides(member_scores, nonmember_scores)
    nonmember = np.sort(nonmember)[::-1]
    if x < 1.0 / nonmember.size:
        raise _too_few(nonmember.size, x, significance)
    bounds = tpr_bounds(member, nonmember, x, significance)
    threshold = _threshold(member, nonmember, x)
    hits, alarms = 0, 0
    if threshold is not None:
        hits = int(np.count_nonzero(member >= threshold))
        alarms = int(np.count_nonzero(nonmember >= threshold))
    return TprAtFpr(
        value=hits / member.size,
        low=bounds.low,
        high=bounds.high,
        threshold=threshold,
        max_fpr=x,
        fpr=alarms / nonmember.size,
        rank_low=bounds.ranks.low,
        rank_high=bounds.ranks.high,
        members=member.size,
        nonmembers=nonmember.size,
        confidence=float(confidence),
        interval=interval,
    )


@dataclass(frozen=True, slots=True)
class TprBounds:
    """Both bounds of a TPR and the ranks of the non-members behind them."""

    low: float
    high: float
    ranks: Ranks


def tpr_bounds(member: FloatArray, nonmember: FloatArray, x: float, significance: float) -> TprBounds:
    """Return both bounds, each at `significance`, unchecked; members in any order, non-members **highest first**.

    Source: Implements METHODS 7.2, `tpr_bounds`.
    """
    a = significance / 2.0  # half for the threshold, half for the rate
    rank = find_ranks(nonmember.size, x, a)
    low, high = 0.0, 1.0
    if rank.low is not None:
        low = lower_bound(int(np.count_nonzero(member > nonmember[rank.low - 1])), member.size, a)
    if rank.high is not None:
        high = upper_bound(int(np.count_nonzero(member >= nonmember[rank.high - 1])), member.size, a)
    return TprBounds(low, high, rank)


def nonmembers_needed(max_fpr: float, confidence: float = 0.95) -> int:
    """Return the smallest number of non-members with a non-trivial lower bound of the TPR at `max_fpr`.

    Fewer can still support a PASS (upper bounds exist for any number) but never a FAIL.

    Args:
        max_fpr: in (0, 1).
        confidence: of the one-sided lower bound, in (0.5, 1).

    Returns:
        ln a / ln(1 - max_fpr) rounded up, a = half the significance: 368 at 1 %, 3,688 at 0.1 % (confidence
        0.95).

    Raises:
        UsageError: an argument is out of range.

    Source: Implements METHODS 7.2.
    """
    return _needed(check_fraction("max_fpr", max_fpr), check_significance(confidence))


def _needed(x: float, significance: float) -> int:
    resolution = int(np.ceil(1.0 / x))
    return max(resolution, values_needed(x, significance / 2.0))


def _threshold(member: FloatArray, nonmember: FloatArray, x: float) -> float | None:
    # At most c false positives are allowed: a flagged score lies above the (c+1)-th highest non-member.
    n0 = nonmember.size
    c = int(x * n0)
    c += (c + 1) / n0 <= x  # 0.29 * 100 is 28.999...: compare as the ROC does, count / n0 <= x
    c -= c / n0 > x
    above = member[member > nonmember[c]]
    return float(above.min()) if above.size else None


def _too_few(nonmembers: int, x: float, significance: float) -> InsufficientProbes:
    needed = _needed(x, significance)
    return InsufficientProbes(
        f"Cannot bound TPR at FPR {x:g} from {nonmembers} non-members: at least {needed} are needed. "
        "Raise max_fpr or add non-members.",
        needed=needed,
    )
