"""Match threshold: from which distance on a generation counts as a copy.

A fixed distance means nothing by itself: on plain backgrounds non-copies come as close. So distances of images that are
known not to be copies become a threshold whose false match rate is bounded. They must be drawn like those that the
threshold is then used on, and must not be used again as the control.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    as_number,
    check_fraction,
    check_scores,
    check_significance,
)
from pytest_diffprivacy.statistics.ranks import find_ranks, values_needed


@dataclass(frozen=True, slots=True)
class MatchThreshold:
    """A distance up to which an image counts as a copy (`distance <= threshold`, compared in float64).

    Attributes:
        threshold: the largest one that is allowed.
        rank: the threshold lies strictly below this null distance, counted from 1 at the smallest.
        nulls: number of null distances.
        max_false_match_rate: bound of the false match rate ...
        confidence: ... and the confidence with which it holds.
        ceiling: the largest threshold the caller would accept.
        ceiling_decided: whether the ceiling, and not the null distances, set the threshold.
    """

    threshold: float
    rank: int
    nulls: int
    max_false_match_rate: float
    confidence: float
    ceiling: float
    ceiling_decided: bool


def false_match_threshold(
    null_distances: ArrayLike, *, max_false_match_rate: float, confidence: float = 0.95, ceiling: float
) -> MatchThreshold:
    """Find the largest threshold whose false match rate is bounded; **a lower distance means closer**.

    Args:
        null_distances: shape (n,), finite and not negative; one for each image known not to be a copy.
        max_false_match_rate: how often a non-copy may be called a copy, in (0, 1).
        confidence: with which that holds, in (0.5, 1).
        ceiling: the threshold is never above it (0.15 for RMS distances, say), above 0.

    Returns:
        The threshold with its rank and inputs. It holds for independent null distances of any distribution.

    Raises:
        UsageError: an argument is wrong, or so many null distances are 0 that no threshold is left.
        InsufficientProbes: too few null distances for this rate and confidence.

    Source: Implements METHODS 7.2 (order statistic bound) for the lower tail of distances.
    """
    significance = check_significance(confidence)
    rate = check_fraction("max_false_match_rate", max_false_match_rate)
    top = as_number("ceiling", ceiling)
    if not 0.0 < top < np.inf:
        raise UsageError(f"`ceiling` must be finite and above 0, got {ceiling!r}. Give the largest useful distance.")
    distances = check_scores("null_distances", null_distances)
    if distances.min() < 0.0:
        raise UsageError(
            f"`null_distances` must be at least 0, got {distances.min()!s}. Give distances, not similarities."
        )
    rank = find_ranks(distances.size, rate, significance).low
    if rank is None:
        needed = values_needed(rate, significance)
        raise InsufficientProbes(
            f"Cannot bound a false match rate of {rate:g} from {distances.size} null distances: at least "
            f"{needed} are needed. Raise max_false_match_rate or add images that are known not to be copies.",
            needed=needed,
        )
    return _below(distances, rank, rate, float(confidence), top)


def _below(distances: FloatArray, rank: int, rate: float, confidence: float, ceiling: float) -> MatchThreshold:
    bound = float(np.partition(distances, rank - 1)[rank - 1])
    if bound == 0.0:
        raise UsageError(
            f"`null_distances` must belong to images that are no copies, got {int((distances == 0.0).sum())} "
            f"of {distances.size} equal to 0. Remove duplicates, or no distance could ever count as a match."
        )
    # "distance <= the float just below the bound" is the same as "distance < bound".
    below = float(np.nextafter(bound, -np.inf))
    return MatchThreshold(
        threshold=min(ceiling, below),
        rank=rank,
        nulls=distances.size,
        max_false_match_rate=rate,
        confidence=confidence,
        ceiling=ceiling,
        ceiling_decided=ceiling <= below,
    )


def uncalibrated(count: int, max_false_match_rate: float, confidence: float, *, images: str) -> str:
    """Why so many unseen images, half of which are the control, calibrate no copy rule; empty where they do."""
    needed = 2 * values_needed(max_false_match_rate, round(1.0 - confidence, 12))
    if count >= needed:
        return ""
    return (
        f"undefined, because {count} {images} calibrate no copy rule with a false match rate of "
        f"{max_false_match_rate:g}: at least {needed} {images} are needed"
    )
