"""TPR at a limited FPR: the members recognised when at most a share x of the non-members may be flagged by mistake.

The threshold of that rate is itself estimated from the non-members. The usual recipe (a binomial interval at
the threshold that was picked) forgets this and covers 20-87 % at nominal 95 %. The bounds here bound the
threshold by an order statistic of the non-members and the rate above it by Clopper-Pearson; how they share the
significance is `exact_split`.
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
    check_rule,
    check_sides,
    check_significance,
)
from pytest_diffprivacy.statistics.binomial import lower_bound, upper_bound
from pytest_diffprivacy.statistics.exact_split import Split, lower_p_value, lower_split, upper_split
from pytest_diffprivacy.statistics.p_values import p_value_from_bounds
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
    limit: float | None = None,
    rule: int = 2,
) -> TprAtFpr:
    """Measure the TPR at a limited FPR; **a higher score means more likely a member**.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite, independent of each other and of the members.
        max_fpr: the largest share of non-members that may be flagged, in (0, 1).
        confidence: in (0.5, 1).
        interval: `"one-sided"`: each bound at `confidence`; `"two-sided"`: each bound at half the
            significance.
        limit: what the TPR will be compared with, in [0, 1), fixed before any score was seen: the ranks are those that
            decide about it with the fewest probes. Without one they are those of the half-half split.
        rule: 2; 1: half of the significance for the threshold and half for the rate, which needs more probes.

    Returns:
        The estimate with its bounds, threshold, ranks and counts. The bounds hold for any distribution of
        scores, exactly in finite samples, and are conservative with ties.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: `max_fpr` is below 1 / n0, the resolution of the non-members.

    Source: Implements METHODS 7.2 (order statistic plus Clopper-Pearson, exact split).
    """
    significance = check_significance(confidence, interval)
    x, judged = check_fraction("max_fpr", max_fpr), _checked_limit(limit)
    member, nonmember = check_sides(member_scores, nonmember_scores)
    nonmember = np.sort(nonmember)[::-1]
    if x < 1.0 / nonmember.size:
        raise _too_few(nonmember.size, x, significance)
    bounds = tpr_bounds(member, nonmember, x, significance, limit=judged, rule=rule)
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


def tpr_bounds(
    member: FloatArray,
    nonmember: FloatArray,
    x: float,
    significance: float,
    *,
    limit: float | None = None,
    rule: int = 2,
) -> TprBounds:
    """Return both bounds, each at `significance`, unchecked; members in any order, non-members **highest first**.

    Source: Implements METHODS 7.2, exact split (rule 2) and half-half split (rule 1).
    """
    sizes = nonmember.size, member.size
    if check_rule(rule) == 1:
        a = significance / 2.0
        rank = find_ranks(nonmember.size, x, a)
        below, above = Split(rank.low, a), Split(rank.high, a)
    else:
        below, above = (find(*sizes, x, significance, limit) for find in (lower_split, upper_split))
    low, high = 0.0, 1.0
    if below.rank is not None:
        low = lower_bound(int(np.count_nonzero(member > nonmember[below.rank - 1])), member.size, below.rate)
    if above.rank is not None:
        high = upper_bound(int(np.count_nonzero(member >= nonmember[above.rank - 1])), member.size, above.rate)
    return TprBounds(low, high, Ranks(below.rank, above.rank))


def tpr_p_value(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    limit: float,
    *,
    max_fpr: float,
    confidence: float = 0.95,
    designed: float | None = None,
    rule: int = 2,
) -> float:
    """Return the p-value of "the TPR at this FPR is at most the limit".

    At most 1 - confidence exactly where the lower bound at that confidence lies above the limit. Its rank stays that of
    the confidence; below it the half-half split's bounds, which are nested, say how much smaller the p-value is.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.
        limit: the largest TPR allowed.
        max_fpr: as in `tpr_at_fpr`.
        confidence: of the bound that decides.
        designed: the limit for which its rank is chosen, as `limit` of `tpr_at_fpr`.
        rule: as in `tpr_at_fpr`.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: `max_fpr` is below 1 / n0.

    Source: METHODS 7.2.
    """

    def half(level: float) -> float:
        return tpr_at_fpr(member_scores, nonmember_scores, max_fpr=max_fpr, confidence=level, rule=1).low

    halved = p_value_from_bounds(half, limit)
    if check_rule(rule) == 1:
        return halved
    significance, (member, nonmember) = check_significance(confidence), check_sides(member_scores, nonmember_scores)
    split = lower_split(nonmember.size, member.size, max_fpr, significance, _checked_limit(designed))
    if split.rank is None:
        return halved
    hits = int(np.count_nonzero(member > np.sort(nonmember)[-split.rank]))
    exact = lower_p_value(hits, member.size, limit, split.rank, nonmember.size, max_fpr)
    return exact if exact > significance else min(significance, halved)


def _checked_limit(limit: float | None) -> float | None:
    return None if limit is None else check_fraction("limit", limit, zero=True)


def nonmembers_needed(max_fpr: float, confidence: float = 0.95) -> int:
    """Return the smallest number of non-members with a non-trivial lower bound of the TPR at `max_fpr`.

    Fewer can still support a PASS (upper bounds exist for any number) but never a FAIL.

    Args:
        max_fpr: in (0, 1).
        confidence: of the one-sided lower bound, in (0.5, 1).

    Returns:
        ln a / ln(1 - max_fpr) rounded up, a = the significance: 299 at 1 %, 2,995 at 0.1 % (confidence 0.95). So
        few show hardly more than that every member is recognised; about 4 % more show a leak.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements METHODS 7.2.
    """
    return _needed(check_fraction("max_fpr", max_fpr), check_significance(confidence))


def _needed(x: float, significance: float) -> int:
    resolution = int(np.ceil(1.0 / x))
    return max(resolution, values_needed(x, significance))


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
