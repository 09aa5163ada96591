"""Does resampling the images agree about the difference of two scores? For display beside `auroc_difference`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.statistics.arguments import check_count, check_significance
from pytest_diffprivacy.statistics.auroc import placements
from pytest_diffprivacy.statistics.auroc_difference import check_pairs

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class ResampledDifference:
    """AUROC of the first score minus that of the second; percentile bounds, each one-sided at `confidence`."""

    value: float
    low: float
    high: float
    confidence: float
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
