"""Copies: how often the model makes one, by all copies from above and by what a control does not explain from below."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import IntArray, check_rule, check_significance
from pytest_diffprivacy.statistics.dcr import split_luck
from pytest_diffprivacy.statistics.early_plan import early_facts, early_trials, expected_items
from pytest_diffprivacy.statistics.early_rate import AT_ZERO, EarlyRate, check_looks, early_rate, early_rates
from pytest_diffprivacy.statistics.match_threshold import false_match_threshold, uncalibrated
from pytest_diffprivacy.statistics.p_values import p_value_from_bounds
from pytest_diffprivacy.statistics.rate import Trials, excess_rate, more_trials, rate, rate_facts
from pytest_diffprivacy.statistics.sample_size import both_sides
from pytest_diffprivacy.statistics.sequential import sequential_mean
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

LAST_RULE: Final = 4


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


def early_copy_rate(
    copies: NDArray[np.bool_],
    compared_copies: NDArray[np.bool_],
    false_matches: NDArray[np.bool_],
    *,
    confidence: float = 0.95,
    at_zero: float = AT_ZERO,
) -> CopyRate:
    """Bound the copy rate when generating may stop as soon as PASS or FAIL is certain, after any generation.

    Generation i gives d_i = (copies a compared member) - (matches a control image), in {-1, 0, 1}. Were the compared
    members no better known to the model than the control images, E[d_i] would be 0; it is at most the rate of copies.
    Bets on d_i bound it from below, a bet on fewer copies bounds the rate of all copies from above.

    Args:
        copies: copies of any member in the order of generation, (generations,).
        compared_copies: copies of one of the members that are as many as the control images, (generations,).
        false_matches: matches with a control image, (generations,).
        confidence: of each bound, in (0.5, 1).
        at_zero: as `early_rate`.

    Raises:
        UsageError: arrays of different lengths, or empty.

    Source: Implements METHODS 1.4 and 7.9; the paired differences are ours.
    """
    count = _common_length(copies, compared_copies, false_matches)
    differences = compared_copies.astype(np.int8) - false_matches.astype(np.int8)
    found = early_rate(copies, differences, confidence=confidence, at_zero=at_zero)
    return CopyRate(
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        copies=int(copies.sum()),
        compared_copies=int(compared_copies.sum()),
        false_matches=int(false_matches.sum()),
        generations=count,
    )


def copying_luck(members: IntArray, unseen: IntArray, images: int) -> float:
    """How often as many copies are of compared images, if members and unseen images are exchanged at random.

    Where no unseen image is matched at all, generations are not like images in general, and training images are judged
    as they are, however few: 0.

    Args:
        members: the member that each copy of a compared member is nearest to.
        unseen: the unseen image that each false match is nearest to.
        images: how many members are compared, and as many unseen images.

    Source: METHODS 7.9, the permutation of 6.2.
    """
    if len(unseen) == 0:
        return 0.0
    return split_luck(members, unseen, images)


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
    threshold); where generating could stop early "looks", and the bounds there, "looks_low" and "looks_high". Copies of
    one popular image share the luck of the split into compared members and unseen images, so the lower bound is above
    0 only if exchanging the images of both seldom gives as many copies.

    Attributes:
        delta: largest RMS distance of a copy.
        max_false_match_rate: how often a non-copy may be called a copy.
        ceiling: the threshold of the adaptive distance is never above it.
        rule_confidence: with which the threshold keeps that rate; None, in old records: that of the bounds.
        planned: the budget of generations, where generating may stop early; 0: it may not.
        at_zero: what of the early bounds' capital is bet on a model without a copy.
        rule: 4; 3: of training images that came back beside no unseen one, one alone was judged as it is, and two were
            exchanged, so that more copies accused less; 2: an early stop by FAIL only; 1: generations alone count,
            which accused a model of one popular image in 14 % of the splits.
    """

    delta: float
    max_false_match_rate: float
    ceiling: float
    rule_confidence: float | None = None
    confidence: float
    planned: int = 0
    at_zero: float = AT_ZERO
    rule: int = LAST_RULE

    def measure(self, arrays: Stored) -> CopyRate:
        """`copy_rate`, or `early_copy_rate` where generating could have stopped, by a threshold from the null.

        Raises:
            UsageError: the stored bounds at the looks are not those of the stored distances.
        """
        found = self._bounds(arrays)
        if "looks" in arrays:
            check_looks(self.trajectory(arrays, only(arrays, "looks")), arrays)
        if found.low > 0.0 and self._by_luck(arrays) > check_significance(self.confidence):
            return replace(found, low=0.0)
        return found

    def trajectory(self, arrays: Stored, looks: IntArray) -> list[EarlyRate]:
        """The bounds at each look, by generations alone."""
        copies, compared, false = self._flags(arrays)
        differences = compared.astype(np.int8) - false.astype(np.int8)
        return early_rates(copies, differences, looks, confidence=self.confidence, at_zero=self.at_zero)

    def p_value(self, arrays: Stored, limit: float) -> float | None:
        """That of the bounds, or of the exchanged images where it is larger."""

        def lower(confidence: float) -> float:
            with contextlib.suppress(InsufficientProbes):  # the rule of an old record is undefined: nothing is refuted
                return replace(self, confidence=confidence)._bounds(arrays).low
            return -math.inf

        return max(p_value_from_bounds(lower, limit), self._by_luck(arrays))

    def _bounds(self, arrays: Stored) -> CopyRate:
        """The bounds by generations alone."""
        copies, compared, false = self._flags(arrays)
        if not self.planned:
            return copy_rate(copies, compared, false, confidence=self.confidence)
        if check_rule(self.rule, last=LAST_RULE) < 3:
            return running_copy_rate(copies, compared, false, planned=int(self.planned), confidence=self.confidence)
        return early_copy_rate(copies, compared, false, confidence=self.confidence, at_zero=self.at_zero)

    def _by_luck(self, arrays: Stored) -> float:
        """As `copying_luck`; 0 by the first rule."""
        if check_rule(self.rule, last=LAST_RULE) == 1:
            return 0.0
        _, compared, false = self._flags(arrays)
        members, unseen = only(arrays, "nearest")[compared], only(arrays, "control_nearest")[false]
        if self.rule < 4 and len(unseen) == 0 and len(np.unique(members)) > 1:
            return split_luck(members, unseen, len(only(arrays, "compared")))
        return copying_luck(members, unseen, len(only(arrays, "compared")))

    @property
    def _fixed(self) -> float:
        """The confidence of the copy rule, which stays as it was, whatever is asked for."""
        return self.confidence if self.rule_confidence is None else self.rule_confidence

    def _flags(self, arrays: Stored) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Copies, those of compared members, and false matches."""
        found = false_match_threshold(
            only(arrays, "null"),
            max_false_match_rate=self.max_false_match_rate,
            confidence=self._fixed,
            ceiling=self.ceiling,
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
        false = measured.false_matches / measured.generations
        if not self.planned or check_rule(self.rule, last=LAST_RULE) < 3:
            return more_trials(measured, false, limit)
        return early_trials(measured, measured.generations, false, limit, at_zero=self.at_zero)

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (generations, members, non-members); half of the non-members are the control."""
        generations, members, nonmembers = counts
        words = Trials(
            name="generations",
            clean="without a copy",
            beside=both_sides(members, nonmembers),
            controls=generations,
            undefined=uncalibrated(nonmembers, self.max_false_match_rate, self.confidence, images="non-members"),
        )
        if self.planned:
            return early_facts(generations, limit, self.confidence, words)
        return rate_facts(generations, limit, self.confidence, words)

    def expected(self, counts: tuple[int, ...], limit: float) -> int | None:
        """Generations after which a model without a copy passes; None: all of them, or it cannot."""
        if not self.planned:
            return None
        return expected_items(counts[0], limit, confidence=self.confidence, at_zero=self.at_zero)
