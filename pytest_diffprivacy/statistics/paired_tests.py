"""Paired tests: by how much one score, or one release, does better than another on the same images.

What both share cancels. Scores are compared by the difference of their AUROC (DeLong; a bootstrap stands beside it for
display), yes-or-no answers by McNemar's test: probes with the same answer twice say nothing about a change, however
many they are; of those that changed, half would have changed either way if the releases were alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_count, check_scores, check_significance
from pytest_diffprivacy.statistics.auroc import placements
from pytest_diffprivacy.statistics.binomial import lower_bound, upper_bound
from pytest_diffprivacy.statistics.verdict import Bounded

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class AurocDifference(Bounded):
    """AUROC of the first score minus AUROC of the second, with one-sided bounds at `confidence`.

    Attributes:
        low: lower bound, at least -1.
        high: upper bound, at most 1.
        first: AUROC of the first score.
        second: AUROC of the second.
        variance: of the difference; 0 if both scores rank all pairs alike. The bounds are then those of as many
            disjoint pairs as there are, all ranked alike.
        p_value: two-sided, against "no difference"; 1 where the variance is 0.
        p_greater: one-sided, against "the first is at most the second"; 1 where the variance is 0.
    """

    first: float
    second: float
    variance: float
    p_value: float
    p_greater: float
    members: int
    nonmembers: int


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
        raise InsufficientProbes(
            "Cannot compare scores of fewer than 2 members and 2 non-members. Add probes.", needed=2
        )
    return pairs


@dataclass(frozen=True, slots=True)
class ResampledDifference(Bounded):
    """AUROC of the first score minus that of the second; percentile bounds, each one-sided at `confidence`."""

    resamples: int


def resampled_auroc_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> ResampledDifference:
    """Bound the difference by resampling images, each with both of its scores.

    Args:
        first: (member scores, non-member scores), shapes (n1,) and (n0,), finite, higher = more likely a member.
        second: another score of the same images in the same order.
        seed: seed of the resampling.
        confidence: of each bound, in (0.5, 1).
        resamples: how many, at least 100.

    Returns:
        The difference with approximate bounds.

    Raises:
        UsageError: an argument is wrong, or the shapes differ.
        InsufficientProbes: fewer than 2 members or non-members.

    Source: Follows Efron and Tibshirani (1993), chapter 13, percentile interval; METHODS 7.7.
    """
    significance = check_significance(confidence)
    (member, nonmember), (others, nonothers) = check_pairs(first, second)
    stream = np.random.default_rng(check_count("seed", seed, least=0))
    drawn = np.empty(check_count("resamples", resamples, least=100))
    for place in range(drawn.size):
        i, j = stream.integers(member.size, size=member.size), stream.integers(nonmember.size, size=nonmember.size)
        moved = placements(member[i], nonmember[j]) - placements(others[i], nonothers[j])
        drawn[place] = moved.mean() / nonmember.size
    low, high = np.quantile(drawn, [significance, 1.0 - significance])
    value = float((placements(member, nonmember) - placements(others, nonothers)).mean()) / nonmember.size
    return ResampledDifference(value, float(low), float(high), float(confidence), drawn.size)


@dataclass(frozen=True, slots=True)
class McNemar(Bounded):
    """How the share of flagged probes changed from the old release to the new one.

    Attributes:
        value: increase of the share, in [-1, 1].
        old_only: probes flagged in the old release only.
        new_only: probes flagged in the new release only.
        probes: number of probes.
        p_worse: exact p-value against "not more often in the new release".
        p_two_sided: exact p-value against "no change".
    """

    old_only: int
    new_only: int
    probes: int
    p_worse: float
    p_two_sided: float


def mcnemar(old: ArrayLike, new: ArrayLike, *, confidence: float = 0.95) -> McNemar:
    """Compare two releases on the same probes.

    Args:
        old: bool (n,), whether the old release's threshold flags each probe.
        new: bool (n,), the same for the new release; both thresholds fixed without these probes.
        confidence: of each bound of the increase, in (0.5, 1).

    Returns:
        The increase with exact, conservative bounds (both shares of changed probes bounded at half the significance),
        and the exact p-values. At least 5 changed probes are needed for a p-value below 0.05.

    Raises:
        UsageError: not booleans of one length, or none.

    Source: Implements McNemar (1947), exact, by METHODS 7.7; bounds by Clopper and Pearson (1934) with Bonferroni.
    """
    half = check_significance(confidence) / 2.0
    first, second = _flags("old", old), _flags("new", new)
    if first.size != second.size:
        raise UsageError(f"`new` must have one flag for each of {first.size} probes, got {second.size}.")
    n = first.size
    b, c = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    upper, lower = _tail(c, b), _tail(b, c)
    return McNemar(
        value=(c - b) / n,
        low=lower_bound(c, n, half) - upper_bound(b, n, half),
        high=upper_bound(c, n, half) - lower_bound(b, n, half),
        confidence=float(confidence),
        old_only=b,
        new_only=c,
        probes=n,
        p_worse=upper,
        p_two_sided=min(1.0, 2.0 * min(upper, lower)),
    )


def _tail(more: int, fewer: int) -> float:
    """Chance that a fair coin shows heads `more` times or more in more + fewer throws."""
    return float(special.betainc(more, fewer + 1, 0.5)) if more else 1.0


def _flags(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_ or array.ndim != 1 or array.size == 0:
        raise UsageError(
            f"`{name}` must be a vector of booleans with at least one, got {array.dtype} of shape {array.shape}."
        )
    return array
