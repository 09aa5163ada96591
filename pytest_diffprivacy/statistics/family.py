"""What do several attacks prove about one claim? PASS needs every bound, FAIL is corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import check_fraction, check_significance
from pytest_diffprivacy.statistics.holm import Holm, holm, p_value_from_bounds
from pytest_diffprivacy.statistics.tpr import TprAtFpr, tpr_at_fpr


@dataclass(frozen=True, slots=True)
class FamilyTpr:
    """The largest TPR of a family of attacks, with bounds for the whole family.

    Attributes:
        value: largest point estimate.
        low: largest of the lower bounds, each at 1 - (1 - confidence) / attacks: above the limit, some attack is.
            Holm's correction refutes some attack exactly if this bound does.
        high: largest of the upper bounds, each at `confidence`: at most the limit, all attacks are.
        confidence: of `low` and of `high`.
        attacks: name -> that attack's own estimate at `confidence`.
        worst: the attack with the largest lower bound; of equals the one with the largest point estimate.
    """

    value: float
    low: float
    high: float
    confidence: float
    attacks: Mapping[str, TprAtFpr]
    worst: str


def family_tpr(
    scores: Mapping[str, tuple[ArrayLike, ArrayLike]], *, max_fpr: float, confidence: float = 0.95
) -> FamilyTpr:
    """Judge one claim by several attacks on the same probes.

    The claim "no attack of the family exceeds the limit" passes iff each attack passes on its own (intersection-union,
    no correction: a false PASS needs a false PASS of the attack that does exceed it). It fails iff some attack's lower
    bound exceeds the limit after Bonferroni's correction for their number.

    Args:
        scores: attack -> (member scores, non-member scores); the family is fixed before the scores are seen.
        max_fpr: allowed share of non-members taken for members.
        confidence: of the family's lower and upper bound.

    Raises:
        UsageError: no attack, or a bad argument.
        InsufficientProbes: max_fpr is below the resolution of the non-members.

    Source: Implements Berger 1982 (intersection-union) and Bonferroni's inequality; METHODS 7.8.
    """
    if not scores:
        raise UsageError("`scores` must hold at least one attack, got none.")
    corrected = 1.0 - check_significance(confidence) / len(scores)
    own = {name: tpr_at_fpr(*both, max_fpr=max_fpr, confidence=confidence) for name, both in scores.items()}
    strict = {name: tpr_at_fpr(*both, max_fpr=max_fpr, confidence=corrected) for name, both in scores.items()}
    worst = max(own, key=lambda name: (strict[name].low, own[name].value))
    return FamilyTpr(
        value=max(estimate.value for estimate in own.values()),
        low=strict[worst].low,
        high=max(estimate.high for estimate in own.values()),
        confidence=float(confidence),
        attacks=own,
        worst=worst,
    )


@dataclass(frozen=True, slots=True)
class FamilyTest:
    """Which attacks of a family exceed the limit.

    Attributes:
        p_values: attack -> its own p-value against "at most the limit".
        adjusted: attack -> the same after Holm's correction for their number.
        refuted: the attacks that exceed the limit after the correction.
        p_value: of the claim "none of them does": the smallest adjusted one.
    """

    p_values: Mapping[str, float]
    adjusted: Mapping[str, float]
    refuted: tuple[str, ...]
    p_value: float


def family_test(
    scores: Mapping[str, tuple[ArrayLike, ArrayLike]], limit: float, *, max_fpr: float, confidence: float = 0.95
) -> FamilyTest:
    """Test each attack of a family against the limit, corrected for their number.

    Args:
        scores: attack -> (member scores, non-member scores); the family is fixed before the scores are seen.
        limit: the largest TPR allowed, in [0, 1).
        max_fpr: allowed share of non-members taken for members.
        confidence: one minus the significance of the family.

    Raises:
        UsageError: no attack, or a bad argument.
        InsufficientProbes: max_fpr is below the resolution of the non-members.

    Source: Implements Holm (1979) on the inverted bounds of METHODS 7.2; METHODS 7.8.
    """
    allowed = check_fraction("limit", limit, zero=True)
    if not scores:
        raise UsageError("`scores` must hold at least one attack, got none.")
    p = {name: _p_value(both, allowed, max_fpr) for name, both in scores.items()}
    corrected: Holm = holm(list(p.values()), significance=check_significance(confidence))
    return FamilyTest(
        p_values=p,
        adjusted=dict(zip(p, corrected.adjusted, strict=True)),
        refuted=tuple(name for name, refuted in zip(p, corrected.refuted, strict=True) if refuted),
        p_value=min(corrected.adjusted),
    )


def _p_value(scores: tuple[ArrayLike, ArrayLike], limit: float, max_fpr: float) -> float:
    """Of one attack against "its TPR is at most the limit"."""
    member, nonmember = scores
    return p_value_from_bounds(lambda c: tpr_at_fpr(member, nonmember, max_fpr=max_fpr, confidence=c).low, limit)
