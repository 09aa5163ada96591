"""How many members does an attack recognise beyond what chance gives at the same false positive rate?

An attack that knows nothing recognises `max_fpr` of the members while it accuses `max_fpr` of the others, so the
excess is 0 without a leak, and a lower bound above 0 is a leak.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from pytest_diffprivacy.statistics.tpr import tpr_at_fpr


@dataclass(frozen=True, slots=True)
class ExcessTpr:
    """The TPR at FPR <= `max_fpr` minus `max_fpr`, with bounds that include the error of its threshold.

    Attributes:
        value: between -max_fpr and 1 - max_fpr.
        low: lower confidence bound; -max_fpr if no order statistic bounds the threshold from above.
        high: upper confidence bound.
        confidence: of each bound.
        tpr: the TPR itself.
        max_fpr: what chance gives.
        members: their number.
        nonmembers: their number.
    """

    value: float
    low: float
    high: float
    confidence: float
    tpr: float
    max_fpr: float
    members: int
    nonmembers: int


def excess_tpr(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, max_fpr: float, confidence: float = 0.95
) -> ExcessTpr:
    """Measure how far the TPR at a limited FPR lies above that FPR; **a higher score means more likely a member**.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.
        max_fpr: allowed share of non-members taken for members, in (0, 1).
        confidence: of each one-sided bound, in (0.5, 1).

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: `max_fpr` is below 1 / n0.

    Source: Implements METHODS 7.2, moved by the constant `max_fpr`.
    """
    found = tpr_at_fpr(member_scores, nonmember_scores, max_fpr=max_fpr, confidence=confidence)
    return ExcessTpr(
        value=found.value - found.max_fpr,
        low=found.low - found.max_fpr,
        high=found.high - found.max_fpr,
        confidence=found.confidence,
        tpr=found.value,
        max_fpr=found.max_fpr,
        members=found.members,
        nonmembers=found.nonmembers,
    )
