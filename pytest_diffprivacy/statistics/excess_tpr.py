"""Excess TPR: how many members an attack recognises beyond what chance gives at the same false positive rate.

An attack that knows nothing recognises `max_fpr` of the members while it accuses `max_fpr` of the others, so the
excess is 0 without a leak, and a lower bound above 0 is a leak.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from pytest_diffprivacy.statistics.arguments import check_fraction
from pytest_diffprivacy.statistics.family import tpr_facts, tpr_hint
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, recorded_arguments, statistic
from pytest_diffprivacy.statistics.tpr import nonmembers_needed, tpr_at_fpr, tpr_p_value
from pytest_diffprivacy.statistics.verdict import Bounded


@dataclass(frozen=True, slots=True)
class ExcessTpr(Bounded):
    """The TPR at FPR <= `max_fpr` minus `max_fpr`, with bounds that include the error of its threshold.

    Attributes:
        value: between -max_fpr and 1 - max_fpr.
        low: lower confidence bound; -max_fpr if no order statistic bounds the threshold from above.
        tpr: the TPR itself.
        max_fpr: what chance gives.
        members: their number.
        nonmembers: their number.
    """

    tpr: float
    max_fpr: float
    members: int
    nonmembers: int


def excess_tpr(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    max_fpr: float,
    confidence: float = 0.95,
    limit: float | None = None,
    rule: int = 2,
) -> ExcessTpr:
    """Measure how far the TPR at a limited FPR lies above that FPR; **a higher score means more likely a member**.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.
        max_fpr: allowed share of non-members taken for members, in (0, 1).
        confidence: of each one-sided bound, in (0.5, 1).
        limit: what the excess will be compared with, fixed before any score was seen; as in `tpr_at_fpr`.
        rule: as in `tpr_at_fpr`.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: `max_fpr` is below 1 / n0.

    Source: Implements METHODS 7.2, moved by the constant `max_fpr`.
    """
    rate = None if limit is None else check_fraction("limit", limit, zero=True) + max_fpr
    found = tpr_at_fpr(member_scores, nonmember_scores, max_fpr=max_fpr, confidence=confidence, limit=rate, rule=rule)
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


@statistic("excess_tpr")
@dataclass(frozen=True, slots=True, kw_only=True)
class ExcessTprStatistic(Statistic):
    """The excess of the TPR at a limited FPR, of the arrays "members" and "nonmembers"; `limit` and `rule` as there."""

    max_fpr: float
    confidence: float = 0.95
    limit: float | None = None
    rule: int = 2

    def measure(self, arrays: Stored) -> ExcessTpr:
        """`excess_tpr` of both arrays."""
        return excess_tpr(only(arrays, "members"), only(arrays, "nonmembers"), **recorded_arguments(self))

    def needed(self, arrays: Stored, measured: ExcessTpr, limit: float) -> str:
        """Probes a side that would decide, if there are non-members enough for any lower bound."""
        members, nonmembers, rate = only(arrays, "members"), only(arrays, "nonmembers"), limit + self.max_fpr
        least = nonmembers_needed(self.max_fpr, self.confidence)
        if len(nonmembers) < least:
            return f"at least {least} non-members, below which no lower bound exists at this FPR"
        return tpr_hint(members, nonmembers, rate, self, clean=measured.low <= 0.0)

    def p_value(self, arrays: Stored, limit: float) -> float:
        """`tpr_p_value`, moved by what chance gives."""
        designed = None if self.limit is None else self.limit + self.max_fpr
        return tpr_p_value(
            only(arrays, "members"), only(arrays, "nonmembers"), limit + self.max_fpr,
            max_fpr=self.max_fpr, confidence=self.confidence, designed=designed, rule=self.rule,
        )  # fmt: skip

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (members, non-members)."""
        return tpr_facts(counts, limit + self.max_fpr, self)
