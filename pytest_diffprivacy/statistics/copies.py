"""Copies: from which distance on a generation counts as one, and how often the model makes one.

A fixed distance means nothing by itself: on plain backgrounds non-copies come as close. So distances of images that are
known not to be copies become a threshold whose false match rate is bounded. They must be drawn like those that the
threshold is then used on, and must not be used again as the control.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    as_number,
    check_fraction,
    check_rule,
    check_scores,
    check_significance,
)
from pytest_diffprivacy.statistics.dcr import split_luck
from pytest_diffprivacy.statistics.ranks import find_ranks, values_needed
from pytest_diffprivacy.statistics.rate import Trials, excess_rate, more_trials, rate, rate_facts
from pytest_diffprivacy.statistics.sample_size import both_sides
from pytest_diffprivacy.statistics.sequential import sequential_mean
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

EARLY = "no early stop: a FAIL may need fewer generations, and all of them together show somewhat less"


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


@dataclass(frozen=True, slots=True)
class CopyRate(Bounded):
    """The share of generations that are copies: plain upper bound, lower bound after the control's false matches.

    Attributes:
        value: copies / generations.
        low: lower bound of the rate that the control does not explain.
        high: upper bound of the plain rate.
        copies: generations that copy a member.
        compared_copies: those that copy one of the members the control is compared with.
        false_matches: generations that "copy" a control image, which the model never saw.
        generations: how many there were.
    """

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
    """Bound the copy rate when generating may stop as soon as FAIL is certain, after any of them.

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


@statistic("copy_rate")
@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRateStatistic(Statistic):
    """The rate of copies from distances, less the false matches with unseen images.

    Arrays: "l2", "adaptive" and "nearest" of each generation, "control_l2", "control_adaptive" and "control_nearest" of
    its distance to unseen images, "compared" (members that are as many as those), "null" (distances that calibrate the
    threshold). Copies of one popular image share the luck of the split into compared members and unseen images, so the
    lower bound is above 0 only if exchanging the images of both seldom gives as many copies.

    Attributes:
        delta: largest RMS distance of a copy.
        max_false_match_rate: how often a non-copy may be called a copy.
        ceiling: the threshold of the adaptive distance is never above it.
        rule_confidence: with which the threshold keeps that rate; None, in old records: that of the bounds.
        planned: generations without a stop, where generating may stop early; 0: it may not.
        rule: 2; 1: generations alone count, which accused a model of one popular image in 14 % of the splits.
    """

    delta: float
    max_false_match_rate: float
    ceiling: float
    rule_confidence: float | None = None
    confidence: float
    planned: int = 0
    rule: int = 2

    def measure(self, arrays: Stored) -> CopyRate:
        """`copy_rate`, or `running_copy_rate` where generating could have stopped, by a threshold from the null."""
        copies, compared, false = self._flags(arrays)
        if self.planned:
            found = running_copy_rate(copies, compared, false, planned=int(self.planned), confidence=self.confidence)
        else:
            found = copy_rate(copies, compared, false, confidence=self.confidence)
        if found.low > 0.0 and self._by_luck(arrays) > check_significance(self.confidence):
            return replace(found, low=0.0)
        return found

    def p_value(self, arrays: Stored, limit: float) -> float | None:
        """That of the bounds, or of the exchanged images where it is larger."""
        of_bounds = Statistic.p_value(replace(self, rule=1), arrays, limit)
        return of_bounds if of_bounds is None else max(of_bounds, self._by_luck(arrays))

    def _by_luck(self, arrays: Stored) -> float:
        """How often as many copies are of compared images, if members and unseen images are exchanged at random.

        One training image alone, with no unseen image matched, cannot be exchanged and is judged as it is.
        """
        if check_rule(self.rule) == 1:
            return 0.0
        _, compared, false = self._flags(arrays)
        members, unseen = only(arrays, "nearest")[compared], only(arrays, "control_nearest")[false]
        if len(unseen) == 0 and len(np.unique(members)) == 1:
            return 0.0
        return split_luck(members, unseen, len(only(arrays, "compared")))

    def _flags(self, arrays: Stored) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Copies, those of compared members, and false matches."""
        # The rule stays as it was, whatever confidence is asked for.
        fixed = self.confidence if self.rule_confidence is None else self.rule_confidence
        found = false_match_threshold(
            only(arrays, "null"), max_false_match_rate=self.max_false_match_rate, confidence=fixed, ceiling=self.ceiling
        )
        rule = {"delta": float(self.delta), "threshold": found.threshold}
        copies = is_copy(only(arrays, "l2"), only(arrays, "adaptive"), **rule)
        false = is_copy(only(arrays, "control_l2"), only(arrays, "control_adaptive"), **rule)
        return copies, copies & np.isin(only(arrays, "nearest"), only(arrays, "compared")), false

    def needed(self, arrays: Stored, measured: CopyRate, limit: float) -> str:
        """Generations that would decide; none where few images have all copies."""
        luck = self._by_luck(arrays)
        if measured.value > limit and luck > check_significance(self.confidence):
            return (
                "the copies are of so few images that the split into training and unseen images may explain them "
                f"(p = {luck:.2g}): no number of generations decides, more images may"
            )
        return more_trials(measured, measured.false_matches / measured.generations, limit)

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (generations, members, non-members); half of the non-members are the control."""
        generations, members, nonmembers = counts
        words = Trials(
            name="generations",
            clean="without a copy",
            beside=both_sides(members, nonmembers),
            controls=generations,
            given=EARLY if self.planned else "",
            undefined=uncalibrated(nonmembers, self.max_false_match_rate, self.confidence, images="non-members"),
        )
        return rate_facts(generations, limit, self.confidence, words)


def uncalibrated(count: int, max_false_match_rate: float, confidence: float, *, images: str) -> str:
    """Why so many unseen images, half of which are the control, calibrate no copy rule; empty where they do."""
    needed = 2 * values_needed(max_false_match_rate, round(1.0 - confidence, 12))
    if count >= needed:
        return ""
    return (
        f"undefined, because {count} {images} calibrate no copy rule with a false match rate of "
        f"{max_false_match_rate:g}: at least {needed} {images} are needed"
    )
