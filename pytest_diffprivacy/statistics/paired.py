"""Paired change: how much is left of a quantity after a change, on the same prompts with the same seeds.

Images of one prompt belong together, so prompts are resampled, never images.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_rule, check_significance
from pytest_diffprivacy.statistics.binomial import upper_bound
from pytest_diffprivacy.statistics.mean_difference import shown_shift, unit_weights
from pytest_diffprivacy.statistics.rate import plan_rate, trials_needed
from pytest_diffprivacy.statistics.sample_size import POWER, clears
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, recorded_arguments, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

DRAWS = 4_000
LEAST_PROMPTS = 5
LEAST_SHOWN = 20
"""Prompts from which on a mean of unknown range is shown with bounds."""
MOST_PROMPTS = 4_000


@dataclass(frozen=True, slots=True)
class PairedChange(Bounded):
    """A quantity before and after, over the same prompts, with one-sided bounds at `confidence`.

    Attributes:
        value: a ratio, a loss or a difference.
        before: mean before, every prompt with the same weight.
        after: mean after.
        prompts: how many.
    """

    before: float
    after: float
    prompts: int


def share_left(
    before: ArrayLike, after: ArrayLike, *, confidence: float = 0.95, seed: int = 0, rule: int = 2
) -> PairedChange:
    """mean(after) / mean(before): what is left of a share, 1 = all of it.

    Args:
        before: (prompts, images) of 0 and 1, or (prompts,) shares.
        after: the same prompts after the change, any number of images.
        confidence: of each bound, in (0.5, 1).
        seed: of the weights.
        rule: 2; 1: the percentile bootstrap, whose upper bound failed for few and skewed prompts.

    Raises:
        UsageError: values that are no shares, or other prompts.
        InsufficientProbes: fewer than 5 prompts, nothing before of which anything could be left, or from so few prompts
            that there is no upper bound.

    Source: Implements METHODS 5.7: the mean of after - r before by the bound of Gaffke (2005), for all r at once; the
        prompt that was not seen copies only after the change, for the lower bound only before.
    """
    first, second = _means(before, after)
    if min(first.min(), second.min()) < 0.0 or max(first.max(), second.max()) > 1.0:
        raise UsageError("`before` and `after` must be shares in [0, 1]. Pass booleans or shares.")
    if first.mean() == 0.0:
        raise InsufficientProbes(
            f"Nothing was there before in {len(first)} prompts, so no share of it is defined. "
            "Take prompts that bring training images back.",
            needed=len(first) + 1,
        )
    return _ratio(first, second, confidence, seed, loss=False, rule=rule)


def relative_loss(
    before: ArrayLike, after: ArrayLike, *, confidence: float = 0.95, seed: int = 0, rule: int = 2
) -> PairedChange:
    """1 - mean(after) / mean(before): how much of a quantity is lost, 0 = nothing, negative = it grew.

    Args:
        before: (prompts, images) or (prompts,) values on a scale whose zero means none.
        after: the same prompts after the change.
        confidence: of each bound, in (0.5, 1).
        seed: of the weights.
        rule: 2; 1: the percentile bootstrap, whose upper bound failed for few and skewed prompts.

    Raises:
        UsageError: values that are not finite, or other prompts.
        InsufficientProbes: fewer than 5 prompts.
        AuditError: the mean before is not above 0, or not surely so: a share of it means nothing.

    Source: Implements METHODS 5.7 as `share_left`; the prompt that was not seen has as much to lose as any that was,
        and loses all of it (for the lower bound: gains as much from nothing).
    """
    first, second = _means(before, after)
    if first.mean() <= 0.0:
        raise AuditError(f"The mean before is {first.mean():.3g}: nothing is there of which a share could be lost.")
    return _ratio(first, second, confidence, seed, loss=True, rule=rule)


def mean_change(before: ArrayLike, after: ArrayLike, *, confidence: float = 0.95) -> PairedChange:
    """mean(after) - mean(before), for display: no claim rests on it.

    Args:
        before: (prompts, images) or (prompts,).
        after: the same prompts after the change.
        confidence: of each bound, in (0.5, 1).

    Raises:
        UsageError: values that are not finite, or other prompts.
        InsufficientProbes: fewer than 20 prompts.

    Source: Student's t over prompts; approximate where few prompts make the change, of which 20 may show none.
    """
    first, second = _means(before, after, least=LEAST_SHOWN)
    low, high = _t_bounds(second - first, confidence)
    return PairedChange(
        float((second - first).mean()), low, high, float(confidence), float(first.mean()), float(second.mean()),
        len(first),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PromptMean(Bounded):
    """A mean over prompts with one-sided bounds at `confidence`."""

    prompts: int


def mean_over_prompts(values: ArrayLike, *, confidence: float = 0.95) -> PromptMean:
    """The mean of a quantity whose images belong to prompts, for display: no claim rests on it.

    Args:
        values: (prompts, images) or (prompts,).
        confidence: of each bound, in (0.5, 1).

    Raises:
        UsageError: values that are not finite.
        InsufficientProbes: fewer than 20 prompts.

    Source: Student's t over prompts; approximate where few prompts differ from the others.
    """
    means, _ = _means(values, values, least=LEAST_SHOWN)
    low, high = _t_bounds(means, confidence)
    return PromptMean(float(means.mean()), low, high, float(confidence), len(means))


def _t_bounds(values: FloatArray, confidence: float) -> tuple[float, float]:
    """Bounds of a mean."""
    reach = -float(special.stdtrit(len(values) - 1, check_significance(confidence)))
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - reach * error, float(values.mean()) + reach * error


def _ratio(
    first: FloatArray, second: FloatArray, confidence: float, seed: int, *, loss: bool, rule: int
) -> PairedChange:
    significance = check_significance(confidence)
    before, least, most = _drawn(first, second, seed, loss=loss, rule=rule)
    if loss and (before <= 0.0).any():
        raise AuditError(
            f"The mean before, {first.mean():.3g}, is not surely above 0 in {len(first)} prompts: a share of it means "
            "nothing. Take more prompts or a sharper measure."
        )
    value, there = float(second.mean() / first.mean()), int((first > 0.0).sum())
    if not loss and (1.0 - there / len(first)) ** len(first) > significance:
        raise InsufficientProbes(
            f"What was there before came from {there} of {len(first)} prompts: too few for an upper bound of the share "
            "left. Take more prompts that bring training images back.",
            needed=math.ceil(len(first) * (there + 1) / there),
        )
    low = float(np.quantile(least, significance, method="inverted_cdf"))
    high = float(np.quantile(most, 1.0 - significance, method="inverted_cdf"))
    if low == high:  # rule 1, no resample differs: as sure as no event in so many prompts
        unseen = upper_bound(0, len(first), significance) / (1.0 if loss else float(first.mean()))
        low, high = value - unseen if loss else max(0.0, value - unseen), value + unseen
    value, low, high = (1.0 - value, 1.0 - high, 1.0 - low) if loss else (value, low, high)
    return PairedChange(value, low, high, float(confidence), float(first.mean()), float(second.mean()), len(first))


def _drawn(
    first: FloatArray, second: FloatArray, seed: int, *, loss: bool, rule: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means before, of random weights, and the ratios of after to before from below and from above."""
    if check_rule(rule) == 1:
        drawn = _resampled(np.stack([first, second], 1), seed)
        present = drawn[:, 0] > 0.0
        ratios = np.divide(drawn[:, 1], drawn[:, 0], out=np.full(len(drawn), np.inf), where=present)
        return drawn[:, 0], ratios, ratios
    weights = unit_weights(len(first), np.random.default_rng(seed))
    before, after, unseen = weights[:, :-1] @ first, weights[:, :-1] @ second, weights[:, -1]
    most = max(float(first.max()), float(second.max())) if loss else 1.0
    least = min(0.0, float(second.min()))
    return before, (after + unseen * least) / (before + unseen * most), (after + unseen * most) / before


def _means(before: ArrayLike, after: ArrayLike, *, least: int = LEAST_PROMPTS) -> tuple[FloatArray, FloatArray]:
    """The mean of each prompt, before and after."""
    sides = []
    for name, values in (("before", before), ("after", after)):
        array = np.asarray(values, dtype=np.float64)
        if array.ndim not in (1, 2) or array.size == 0 or not np.isfinite(array).all():
            raise UsageError(f"`{name}` must be finite (prompts,) or (prompts, images), got shape {array.shape}.")
        sides.append(array if array.ndim == 1 else array.mean(1))
    if len(sides[0]) != len(sides[1]):
        raise UsageError(f"`after` must be about the same {len(sides[0])} prompts, got {len(sides[1])}.")
    if len(sides[0]) < least:
        raise InsufficientProbes(f"Cannot bound {len(sides[0])} prompts: at least {least} are needed.", needed=least)
    return sides[0], sides[1]


def _resampled(columns: FloatArray, seed: int) -> FloatArray:
    """Means of prompts drawn with replacement: (draws, columns)."""
    count = len(columns)
    drawn = np.random.default_rng(seed).integers(count, size=(DRAWS, count))
    means: FloatArray = np.stack([column[drawn].mean(1) for column in columns.T], 1)
    return means


class PairedStatistic(Statistic):
    """A change from the array "before" to the array "after"; plans for (prompts, images a prompt, prompts left out)."""

    __slots__ = ()
    seed: int

    @abc.abstractmethod
    def shown(self, prompts: int, limit: float) -> tuple[str, str]:
        """What lets so many prompts pass, and what they show."""

    def needed(self, arrays: Stored, measured: PairedChange, limit: float) -> str:
        """Prompts like these that would decide, as far as they are fewer than forty times as many."""
        for times in (2, 3, 4, 6, 8, 12, 16, 24, 40):
            if times * measured.prompts > MOST_PROMPTS:
                break
            more = self.measure({role: [np.tile(only(arrays, role).T, times).T] for role in ("before", "after")})
            if clears(more, limit):
                return f"about {times * measured.prompts} prompts like these would decide"
        return "about four times as many prompts would halve the bounds' distance"

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """What the prompts show, whatever is sampled for them."""
        prompts, images, excluded = counts
        few = f"at least {LEAST_PROMPTS} prompts are needed"
        to_pass, to_fail = (few, few) if prompts < LEAST_PROMPTS else self.shown(prompts, limit)
        gone = f", {excluded} left out without training image" if excluded else ""
        return {
            "probes": f"{prompts} prompts with {images} images each{gone}",
            "to pass": to_pass,
            "to fail": to_fail,
            "shared": "one comparison serves every claim about it; what the searches of its mitigations add to the "
            "sampling is undefined before they run",
        }


@statistic("share_left")
@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLeftStatistic(PairedStatistic):
    """What is left of a share."""

    confidence: float = 0.95
    seed: int = 0
    rule: int = 2

    def measure(self, arrays: Stored) -> PairedChange:
        """`share_left` of both arrays."""
        return share_left(only(arrays, "before"), only(arrays, "after"), **recorded_arguments(self))

    def shown(self, prompts: int, limit: float) -> tuple[str, str]:
        """Where no copy is left, or images of a prompt agree, the bounds are about the binomial ones.

        A prompt that was not seen and copies only with the mitigation weighs u, the others 1 - u: u <= limit (1 - u).
        """
        found = plan_rate(prompts, limit=limit, confidence=self.confidence)
        enough = trials_needed(0.0, limit / (1.0 + limit), confidence=self.confidence)
        needs = "no number of" if enough is None else str(max(LEAST_PROMPTS, enough))
        smallest = "none" if found.smallest is None else f"about {found.smallest:.3g}"
        return (
            f"{needs} prompts without a copy left are needed if every image copies without mitigation, and 1/c "
            "times as many if a share c does; what c is, is undefined before it is measured",
            f"the smallest share left that these show with probability {found.power:g}, if every image copies "
            f"without mitigation and those of a prompt agree, is {smallest}",
        )


@statistic("relative_loss")
@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeLossStatistic(PairedStatistic):
    """What is lost of a quantity."""

    confidence: float = 0.95
    seed: int = 0
    rule: int = 2

    def measure(self, arrays: Stored) -> PairedChange:
        """`relative_loss` of both arrays."""
        return relative_loss(only(arrays, "before"), only(arrays, "after"), **recorded_arguments(self))

    def shown(self, prompts: int, limit: float) -> tuple[str, str]:
        """In standard deviations of the prompts' losses, whose spread is unknown."""
        gap = shown_shift(prompts, confidence=self.confidence)
        passes = (
            f"a mitigation that loses nothing passes with probability {POWER:g} if prompts' losses spread by at most "
            f"{limit / gap:.3g} of the mean alignment; twice the spread needs four times the prompts"
        )
        return (
            passes if limit else "no number of prompts passes: no sample shows that a loss is 0",
            f"the smallest loss that these show with probability {POWER:g} is about the limit and {gap:.3g} "
            "standard deviations of the prompts' losses; as a share it is undefined until they are measured",
        )
