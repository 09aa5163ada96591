"""Similar generations: how many are copies, if all that is known of each is its similarity to the training images.

A generator that copies nothing makes images that are as similar to training images as other unseen images are. So
unseen images set the limit from which an image counts as a copy, and others of them say how often the limit is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics.arguments import as_number, check_fraction, check_scores, check_significance
from pytest_diffprivacy.statistics.match_threshold import uncalibrated
from pytest_diffprivacy.statistics.ranks import find_ranks, values_needed
from pytest_diffprivacy.statistics.rate import Trials, excess_rate, more_trials, rate_facts
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, recorded_arguments, statistic
from pytest_diffprivacy.statistics.verdict import Bounded


@dataclass(frozen=True, slots=True)
class AlikeRate(Bounded):
    """The share of generations that are copies: plain upper bound, lower bound after the unseen images' false matches.

    Attributes:
        value: copies / generations.
        low: lower bound of the rate that the false match rate of unseen images does not explain.
        high: upper bound of the plain rate.
        copies: generations whose similarity is at least `threshold`.
        generations: how many there were.
        false_matches: unseen images of the control that are as similar.
        controls: unseen images of the control.
        threshold: the similarity from which an image counts as a copy.
    """

    copies: int
    generations: int
    false_matches: int
    controls: int
    threshold: float

    def is_copy(self, similarities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these are copies."""
        return np.asarray(similarities >= self.threshold, dtype=np.bool_)


def alike_rate(
    similarities: ArrayLike,
    null: ArrayLike,
    control: ArrayLike,
    *,
    copy_from: float,
    max_false_match_rate: float,
    rule_confidence: float,
    confidence: float = 0.95,
) -> AlikeRate:
    """Bound the share of copies; **a higher similarity means more like a training image**.

    The threshold is `copy_from`, or, where more than `max_false_match_rate` of unseen images may reach that, the
    smallest similarity that no more of them reach, with confidence. PASS is by all copies, FAIL by what the control's
    false matches do not explain.

    Args:
        similarities: (generations,) of each to its nearest training image.
        null: of unseen images to theirs; they calibrate the threshold.
        control: of other unseen images; they took no part in it.
        copy_from: the smallest similarity that may count as a copy.
        max_false_match_rate: share of unseen images that may be called copies, in (0, 1).
        rule_confidence: with which the threshold keeps that share, in (0.5, 1). The bounds hold whatever it is: the
            control took no part in the threshold.
        confidence: of each bound, in (0.5, 1).

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: too few null similarities for this rate and confidence.

    Source: Implements METHODS 1.4, 6.1 and 7.1, with the order statistic bound of 7.2 for the threshold.
    """
    significance = check_significance(rule_confidence)
    allowed = check_fraction("max_false_match_rate", max_false_match_rate)
    found, nulls, others = (
        check_scores(name, values)
        for name, values in (("similarities", similarities), ("null", null), ("control", control))
    )
    rank = find_ranks(nulls.size, allowed, significance).low
    if rank is None:
        needed = values_needed(allowed, significance)
        raise InsufficientProbes(
            f"Cannot bound a false match rate of {allowed:g} from {nulls.size} unseen images: at least {needed} are "
            "needed. Raise max_false_match_rate or add unseen images.",
            needed=needed,
        )
    above = float(np.nextafter(np.partition(nulls, nulls.size - rank)[nulls.size - rank], np.inf))
    threshold = max(as_number("copy_from", copy_from), above)
    copies, false = int((found >= threshold).sum()), int((others >= threshold).sum())
    excess = excess_rate(copies, found.size, false, others.size, confidence=confidence)
    return AlikeRate(
        value=copies / found.size,
        low=excess.low,
        high=excess.high,
        confidence=float(confidence),
        copies=copies,
        generations=found.size,
        false_matches=false,
        controls=others.size,
        threshold=threshold,
    )


@statistic("alike_rate")
@dataclass(frozen=True, slots=True, kw_only=True)
class AlikeRateStatistic(Statistic):
    """The rate of copies by similarity: arrays "similarities" of generations, "null" and "control" of unseen images.

    Attributes:
        copy_from: the smallest similarity that may count as a copy.
        max_false_match_rate: share of unseen images that may be called copies.
        rule_confidence: with which the threshold keeps that share.
    """

    copy_from: float
    max_false_match_rate: float
    rule_confidence: float
    confidence: float = 0.95

    def measure(self, arrays: Stored) -> AlikeRate:
        """`alike_rate` of the three arrays."""
        found, null, control = (only(arrays, role) for role in ("similarities", "null", "control"))
        try:
            return alike_rate(found, null, control, **recorded_arguments(self))
        except InsufficientProbes as error:
            given, needed = len(null) + len(control), 2 * (error.needed or 0)
            raise InsufficientProbes(
                f"Cannot calibrate a copy rule with a false match rate of {self.max_false_match_rate:g} from {given} "
                f"unseen images, half of which are the control: at least {needed} are needed. Raise "
                "max_false_match_rate or add unseen images.",
                needed=needed,
            ) from error

    def needed(self, arrays: Stored, measured: AlikeRate, limit: float) -> str:
        """Generations that would decide."""
        return more_trials(measured, measured.false_matches / measured.controls, limit, remedy="Raise copy_from")

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (generations, unseen images); half of the unseen images are the control."""
        generations, unseen = counts
        words = Trials(
            name="generations",
            clean="without a copy",
            beside=f"{unseen} unseen images",
            controls=unseen - unseen // 2,
            undefined=uncalibrated(unseen, self.max_false_match_rate, self.confidence, images="unseen images"),
        )
        return rate_facts(generations, limit, self.confidence, words)
