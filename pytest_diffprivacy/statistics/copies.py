"""How often does the model copy, given the distances of its generations to training and to unseen images?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.rate import excess_rate, rate
from pytest_diffprivacy.statistics.sequential import sequential_mean


@dataclass(frozen=True, slots=True)
class CopyRate:
    """The share of generations that are copies: plain upper bound, lower bound after the control's false matches.

    Attributes:
        value: copies / generations.
        low: lower bound of the rate that the control does not explain.
        high: upper bound of the plain rate.
        confidence: of each bound.
        copies: generations that copy a member.
        compared_copies: those that copy one of the members the control is compared with.
        false_matches: generations that "copy" a control image, which the model never saw.
        generations: how many there were.
    """

    value: float
    low: float
    high: float
    confidence: float
    copies: int
    compared_copies: int
    false_matches: int
    generations: int


def is_copy(l2: ArrayLike, adaptive: ArrayLike, *, delta: float, threshold: float) -> NDArray[np.bool_]:
    """Which generations are copies: RMS distance at most `delta` **and** adaptive distance at most `threshold`.

    Args:
        l2: RMS distance to the nearest image, (generations,).
        adaptive: adaptive distance to it, (generations,).
        delta: largest RMS distance of a copy.
        threshold: largest adaptive distance of a copy.

    Source: Follows Carlini et al. 2023, section 5.2, with both conditions (METHODS 1.3, 1.4).
    """
    near = np.asarray(l2, dtype=np.float64) <= delta
    return np.asarray(near & (np.asarray(adaptive, dtype=np.float64) <= threshold), dtype=np.bool_)


def copy_rate(
    copies: NDArray[np.bool_],
    compared_copies: NDArray[np.bool_],
    false_matches: NDArray[np.bool_],
    *,
    confidence: float = 0.95,
) -> CopyRate:
    """Bound the copy rate: PASS by all copies, FAIL by what an equal-size control does not explain.

    Args:
        copies: copies of any member, (generations,).
        compared_copies: copies of one of the members that are as many as the control images, (generations,).
        false_matches: matches with a control image, (generations,).
        confidence: of each bound, in (0.5, 1).

    Raises:
        UsageError: arrays of different lengths, or empty.

    Source: Implements METHODS 1.4 and 7.1.
    """
    count = _common_length(copies, compared_copies, false_matches)
    plain = rate(int(copies.sum()), count, confidence=confidence)
    compared, false = int(compared_copies.sum()), int(false_matches.sum())
    excess = excess_rate(compared, count, false, count, confidence=confidence)
    return CopyRate(plain.value, excess.low, plain.high, plain.confidence, plain.successes, compared, false, count)


def running_copy_rate(
    copies: NDArray[np.bool_],
    compared_copies: NDArray[np.bool_],
    false_matches: NDArray[np.bool_],
    *,
    planned: int,
    confidence: float = 0.95,
) -> CopyRate:
    """Bound the copy rate when generating may stop as soon as FAIL is certain, however often one looks.

    Generation i gives d_i = (copies a compared member) - (matches a control image), in {-1, 0, 1}. Were the compared
    members no better known to the model than the control images, E[d_i] would be 0; it is at most the rate of copies.
    A betting process on (d_i + 1) / 2 bounds E[d_i] from below at all times together, so a FAIL holds whenever one
    stops. PASS is judged at the planned number only, by the exact bound of a fixed sample; before that the upper bound
    is the confidence sequence's, which holds at the time one stopped.

    Args:
        copies: copies of any member in the order of generation, (generations,).
        compared_copies: copies of one of the members that are as many as the control images, (generations,).
        false_matches: matches with a control image, (generations,).
        planned: generations without a stop.
        confidence: of each bound, in (0.5, 1).

    Should the rate change on the way, bounds of different times may contradict each other; none excludes the rate that
    was observed.

    Raises:
        UsageError: arrays of different lengths, empty, or longer than planned.

    Source: Implements METHODS 1.4 and 7.9; the paired differences are ours.
    """
    count = _common_length(copies, compared_copies, false_matches)
    if count > planned:
        raise UsageError(f"`planned` must be at least the {count} generations made, got {planned!r}.")
    difference = compared_copies.astype(np.float64) - false_matches.astype(np.float64)
    low = 2.0 * sequential_mean((difference + 1.0) / 2.0, confidence=confidence).low - 1.0
    plain = rate(int(copies.sum()), count, confidence=confidence)
    stopped = sequential_mean(copies.astype(np.float64), confidence=confidence, process="mixture").high
    return CopyRate(
        value=plain.value,
        low=min(plain.value, max(0.0, low)),
        high=plain.high if count == planned else max(plain.value, stopped),
        confidence=plain.confidence,
        copies=plain.successes,
        compared_copies=int(compared_copies.sum()),
        false_matches=int(false_matches.sum()),
        generations=count,
    )


def _common_length(
    copies: NDArray[np.bool_], compared_copies: NDArray[np.bool_], false_matches: NDArray[np.bool_]
) -> int:
    count = len(copies)
    if not count == len(compared_copies) == len(false_matches):
        raise UsageError(
            f"`compared_copies` and `false_matches` must be as long as `copies` ({count}), got "
            f"{len(compared_copies)} and {len(false_matches)}."
        )
    return count
