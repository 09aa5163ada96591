"""By how much does one score separate better than another on the same images? Paired, so what both share cancels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_scores, check_significance
from pytest_diffprivacy.statistics.auroc import placements


@dataclass(frozen=True, slots=True)
class AurocDifference:
    """AUROC of the first score minus AUROC of the second, with one-sided bounds at `confidence`.

    Attributes:
        value: the difference.
        low: lower bound, at least -1.
        high: upper bound, at most 1.
        first: AUROC of the first score.
        second: AUROC of the second.
        variance: of the difference; 0 if both scores rank all pairs alike. The bounds are then those of as many
            disjoint pairs as there are, all ranked alike.
        p_value: two-sided, against "no difference"; 1 where the variance is 0.
        p_greater: one-sided, against "the first is at most the second"; 1 where the variance is 0.
    """

    value: float
    low: float
    high: float
    first: float
    second: float
    variance: float
    p_value: float
    p_greater: float
    members: int
    nonmembers: int
    confidence: float


def auroc_difference(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], *, confidence: float = 0.95
) -> AurocDifference:
    """Compare two scores of the same members and non-members, image i of one being image i of the other.

    Args:
        first: (member scores, non-member scores), shapes (n1,) and (n0,), finite, higher = more likely a member.
        second: another score of the same images in the same order.
        confidence: of each bound, in (0.5, 1).

    Returns:
        The difference with normal-approximation bounds. They are approximate where an AUROC is near 0 or 1.

    Raises:
        UsageError: an argument is wrong, or the shapes differ.
        InsufficientProbes: fewer than 2 members or non-members.

    Source: Implements DeLong, DeLong and Clarke-Pearson (1988), equation 8, for two scores; METHODS 7.7.
    """
    significance = check_significance(confidence)
    pairs = check_pairs(first, second)
    (member, nonmember), _ = pairs
    parts = [_parts(*pair) for pair in pairs]
    areas = [float(above.mean()) for above, _ in parts]
    # The variance of the difference is that of the differences of both placements.
    variance = sum(float((one - two).var(ddof=1)) / one.size for one, two in zip(parts[0], parts[1], strict=True))
    value, error = areas[0] - areas[1], math.sqrt(variance)
    unseen = 1.0 - significance ** (1.0 / min(member.size, nonmember.size))
    width = -float(special.ndtri(significance)) * error if variance else unseen
    return AurocDifference(
        value=value,
        low=max(-1.0, value - width),
        high=min(1.0, value + width),
        first=areas[0],
        second=areas[1],
        variance=variance,
        p_value=2.0 * float(special.ndtr(-abs(value) / error)) if variance else 1.0,
        p_greater=float(special.ndtr(-value / error)) if variance else 1.0,
        members=member.size,
        nonmembers=nonmember.size,
        confidence=float(confidence),
    )


def _parts(member: FloatArray, nonmember: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each member the share of non-members below it, for each non-member the share of members above it."""
    above = member.size - placements(nonmember, member)
    return np.asarray(placements(member, nonmember) / nonmember.size), np.asarray(above / member.size)


def check_pairs(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike]
) -> list[tuple[FloatArray, FloatArray]]:
    """Two scores of the same images, checked: (member scores, non-member scores) of each.

    Raises:
        UsageError: an argument is wrong, or the shapes differ.
        InsufficientProbes: fewer than 2 members or non-members.

    Source: ours.
    """
    pairs = [
        (check_scores("member scores", member), check_scores("non-member scores", nonmember))
        for member, nonmember in (first, second)
    ]
    (member, nonmember), (others, nonothers) = pairs
    if member.shape != others.shape or nonmember.shape != nonothers.shape:
        raise UsageError(
            f"`second` must score the same {member.size} members and {nonmember.size} non-members, got {others.size} "
            f"and {nonothers.size}. Join both scores by image."
        )
    if min(member.size, nonmember.size) < 2:
        raise InsufficientProbes("Cannot compare scores of fewer than 2 members and 2 non-members.", needed=2)
    return pairs
