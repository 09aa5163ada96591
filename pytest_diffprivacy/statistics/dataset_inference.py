"""Dataset inference: whether a set of images is recognised as training data as a whole, although no single image is.

A scorer is fitted on control halves and asked about test halves it has not seen; members then score higher on
average or they do not. One split is one honest p-value. Scores of k folds pooled as if they were independent are
not: their scorers were fitted on each other's test images.

Every bound here is an inverted test. The lower bound is the largest effect that the combined p-value refutes, so it
is above 0 exactly if that p-value is below the significance. Every split has its own scorer, and these are as many
attacks in one claim: the combination is valid under any dependence (the FAIL side), and the upper bound is the worst
of the splits' own (the PASS side, an intersection-union test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    as_number,
    check_count,
    check_fraction,
    check_scores,
    check_significance,
)
from pytest_diffprivacy.statistics.mean_difference import (
    LEAST,
    PERMUTATIONS,
    PermutationShift,
    Shift,
    WelchShift,
    shown_shift,
)
from pytest_diffprivacy.statistics.p_values import COMBINERS, Combine, combined_p_value
from pytest_diffprivacy.statistics.sample_size import HINT, MOST, POWER, both_sides
from pytest_diffprivacy.statistics.statistic import WORDS, Statistic, Stored, only, recorded_arguments, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

BISECTIONS = 200

ShiftTest = Literal["welch", "permutation"]


@dataclass(frozen=True, slots=True)
class SplitLogits:
    """What one scorer says about the test images of its split; higher = more likely member."""

    members: ArrayLike
    nonmembers: ArrayLike


@dataclass(frozen=True, slots=True)
class DatasetInference(Bounded):
    """How far a scorer sets members and non-members apart as sets; 0 = not at all.

    Attributes:
        value: the effect: difference of the mean logits over their root mean variance (Cohen's d), median over splits.
        low: lower bound; above 0 iff `p_value` is below the significance 1 - confidence.
        high: upper bound of the effect's size in either direction, since a reversed scorer sets apart as well; the
            largest of the splits', so it is never 0.
        p_value: against "no scorer sets members higher"; of several splits twice their mean (or median), at most 1.
        split_p_values: one a split.
        difference: mean logit of members minus that of non-members, median over splits, bounds as for the effect.
        member_mean: mean logit of the members, median over splits.
        nonmember_mean: mean logit of the non-members, median over splits.
        members: test members of a split.
        nonmembers: test non-members of a split.
        test: "welch" or "permutation".
        combine: "mean" or "median".
    """

    p_value: float
    split_p_values: tuple[float, ...]
    difference: Bounded
    member_mean: float
    nonmember_mean: float
    members: int
    nonmembers: int
    test: ShiftTest
    combine: Combine


def dataset_inference(
    logits: Sequence[SplitLogits],
    *,
    confidence: float,
    test: ShiftTest = "permutation",
    combine: Combine = "mean",
    seed: int = 0,
) -> DatasetInference:
    """Measure how far scorers set test members and test non-members apart; **a higher logit means a member**.

    Args:
        logits: one pair a split, each from a scorer that saw none of them; at least 10 finite logits a side.
        confidence: of each bound, in (0.5, 1); the significance of the test is 1 - confidence.
        test: "permutation" of the mean difference, exact for exchangeable images; or "welch", one-sided, which infers
            too often from skewed features of few images beside many.
        combine: how several splits make one p-value: twice their "mean", or twice their "median", which is as valid
            and loses less power. Fix it before looking. One split needs no factor.
        seed: of the permutations.

    Returns:
        The effect with its bounds and the p-value behind them. The bounds take the logits' variance as known, exact
        at 0, where a set is inferable or not, and good to a few percent for effects up to 1.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: fewer than 10 test images a side.
        AuditError: all logits of a side are equal on both sides: the scorer measured nothing.

    Source: Implements METHODS 3.13 and 7.6: the Welch test of Dubinski et al. 2025 (CDI), section 4.3, on disjoint
    splits, twice the mean p-value over splits; bounds by test inversion are ours.
    """
    significance = check_significance(confidence)
    if not len(logits):
        raise UsageError("`logits` must hold at least one split, got none.")
    if test not in ("welch", "permutation"):
        raise UsageError(f"`test` must be 'welch' or 'permutation', got {test!r}.")
    if combine not in COMBINERS:
        raise UsageError(f"`combine` must be one of {', '.join(COMBINERS)}, got {combine!r}.")
    if test == "permutation" and (PERMUTATIONS + 1) * significance < 4.0:
        raise UsageError(
            f"`confidence` must be at most {1 - 4 / (PERMUTATIONS + 1):g} for {PERMUTATIONS} permutations, "
            f"got {confidence!r}. Use test='welch'."
        )
    pairs = [_checked(pair) for pair in logits]
    shifts, spreads = _shifts(pairs, test, seed), _spreads(pairs)
    ones = np.ones(len(pairs))
    effects = np.array([shift.difference for shift in shifts]) / spreads
    each = np.array([shift.p_above(0.0) for shift in shifts])
    high = max(
        max(shift.upper(significance), -shift.lower(significance)) / spread
        for shift, spread in zip(shifts, spreads, strict=True)
    )
    difference = Bounded(
        value=float(np.median(effects * spreads)),
        low=_lower(shifts, ones, significance, combine),
        high=max(shift.upper(significance) for shift in shifts),
        confidence=float(confidence),
    )
    return DatasetInference(
        value=float(np.median(effects)),
        low=_lower(shifts, spreads, significance, combine),
        high=float(high),
        confidence=float(confidence),
        p_value=combined_p_value(each, combine=combine),
        split_p_values=tuple(each.tolist()),
        difference=difference,
        member_mean=float(np.median([p.mean() for p, _ in pairs])),
        nonmember_mean=float(np.median([u.mean() for _, u in pairs])),
        members=min(p.size for p, _ in pairs),
        nonmembers=min(u.size for _, u in pairs),
        test=test,
        combine=combine,
    )


def dataset_p_value(
    logits: Sequence[SplitLogits],
    limit: float,
    *,
    test: ShiftTest = "permutation",
    combine: Combine = "mean",
    seed: int = 0,
) -> float:
    """Return the p-value of "the effect is at most `limit`" that `dataset_inference` inverts; at 0 it is its `p_value`.

    Source: METHODS 3.13 and 7.6.
    """
    allowed, pairs = as_number("limit", limit), [_checked(pair) for pair in logits]
    shifts, spreads = _shifts(pairs, test, seed), _spreads(pairs)
    each = [shift.p_above(allowed * float(spread)) for shift, spread in zip(shifts, spreads, strict=True)]
    return combined_p_value(each, combine=combine)


def _checked(pair: SplitLogits) -> tuple[FloatArray, FloatArray]:
    members, nonmembers = check_scores("members", pair.members), check_scores("nonmembers", pair.nonmembers)
    if min(members.size, nonmembers.size) < LEAST:
        raise InsufficientProbes(
            f"Cannot judge a set from {members.size} test members and {nonmembers.size} test non-members: at least "
            f"{LEAST} of each are needed. Add probes.",
            needed=LEAST,
        )
    if np.ptp(members) == 0.0 and np.ptp(nonmembers) == 0.0:
        raise AuditError(
            f"All test members have the logit {members[0]:g} and all test non-members {nonmembers[0]:g}: their "
            "difference has no error to compare it with. Check the features."
        )
    return members, nonmembers


def _shifts(pairs: Sequence[tuple[FloatArray, FloatArray]], test: ShiftTest, seed: int) -> list[Shift]:
    streams = (np.random.default_rng([check_count("seed", seed, least=0), 1, i]) for i in range(len(pairs)))
    return [
        WelchShift.of(p, u) if test == "welch" else PermutationShift.of(p, u, stream)
        for (p, u), stream in zip(pairs, streams, strict=True)
    ]


def _spreads(pairs: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
    return np.array([math.sqrt((p.var(ddof=1) + u.var(ddof=1)) / 2.0) for p, u in pairs])


def _lower(shifts: Sequence[Shift], units: FloatArray, significance: float, combine: Combine) -> float:
    """The largest m such that the combined p-value of "every difference is at most m units" is below significance."""

    def refuted(m: float) -> bool:
        p = np.array([shift.p_above(m * unit) for shift, unit in zip(shifts, units, strict=True)])
        return combined_p_value(p, combine=combine) < significance

    pairs = list(zip(shifts, units, strict=True))
    below = min(shift.lower(significance / 4.0) / unit for shift, unit in pairs)
    above = max(shift.difference / unit for shift, unit in pairs)
    middle = 0.0 if below < 0.0 < above else (below + above) / 2.0  # 0 first: the bound's sign is the verdict
    width = 1e-12 * (above - below)
    for _ in range(BISECTIONS):
        below, above = (middle, above) if refuted(middle) else (below, middle)
        if above - below <= width and below != 0.0:
            break
        middle = (below + above) / 2.0
    return float(below)


@statistic("dataset_inference")
@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInferenceStatistic(Statistic):
    """How far a set stands out, from the logits "members" and "nonmembers", each (splits, test images a side).

    Attributes:
        test: "welch" or "permutation".
        combine: "mean" or "median" of the splits' p-values.
        seed: of the permutations.
        splits: how many random control/test splits decide together, for a plan.
    """

    confidence: float
    test: ShiftTest = "permutation"
    combine: Combine = "mean"
    seed: int = 0
    splits: int = field(default=1, metadata=WORDS, compare=False)

    @property
    def significance(self) -> float:
        """Of the test; rounded, so that a confidence of 0.99 gives 0.01."""
        return round(1.0 - self.confidence, 12)

    def measure(self, arrays: Stored) -> DatasetInference:
        """`dataset_inference` of the logits of all splits."""
        return dataset_inference(_splits(arrays), **recorded_arguments(self))

    def needed(self, arrays: Stored, measured: DatasetInference, limit: float) -> str:
        """Images a side, controls included, that would decide."""
        images = images_needed(measured.value, limit=limit, significance=self.significance, power=HINT)
        if limit == 0.0:
            never = "no number of images lets it PASS: declare a max_effect above 0"
            if images is None or measured.value <= 0.0:
                return never
            return (
                f"about {2 * images} members and as many non-members would make it FAIL at the observed effect; {never}"
            )
        if images is None:
            return "at the observed effect no number of images decides"
        return f"about {2 * images} members and as many non-members would decide at the observed effect"

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (members, non-members); half of each are controls."""
        first, second = counts
        alpha = self.significance / (2.0 if self.splits > 1 else 1.0)  # twice the mean of several p-values
        enough = images_needed(0.0, limit=limit, significance=alpha)
        facts = {
            "probes": f"{both_sides(first, second)}, half of each as controls",
            "to pass": f"about {2 * enough} of each pass with probability {POWER:g} if members do not stand out"
            if enough
            else "no number of images passes: no sample shows that an effect is 0; declare a max_effect above 0",
            "to fail": f"at least {2 * LEAST} of each are needed: these can show none",
        }
        if min(count // 2 for count in counts) >= LEAST:
            gap = shown_shift(*(count - count // 2 for count in counts), confidence=1.0 - alpha)
            facts["to fail"] = (
                f"at least {2 * LEAST} of each; the smallest effect that these show with probability {POWER:g} is "
                f"about {limit + gap:.3g} standard deviations"
            )
        return facts

    def p_value(self, arrays: Stored, limit: float) -> float | None:
        """Known without a search, which permutations would make slow."""
        return dataset_p_value(_splits(arrays), limit, test=self.test, combine=self.combine, seed=self.seed)


def _splits(arrays: Stored) -> list[SplitLogits]:
    rows = zip(only(arrays, "members"), only(arrays, "nonmembers"), strict=True)
    return [SplitLogits(first, second) for first, second in rows]


def images_needed(effect: float, *, limit: float = 0.0, significance: float, power: float = 0.8) -> int | None:
    """Return how many test images a side would decide, if the true effect is `effect`; None beyond 10 million.

    Args:
        effect: standardized difference taken for the truth; above the limit a FAIL is sought, else a PASS.
        limit: the largest effect allowed, >= 0; 0 asks how many images make a set inferable.
        significance: of the test, in (0, 0.5); of one split, several need somewhat more.
        power: probability with which that many decide, in (0, 1).

    Source: Normal approximation of the two-sample test; ours.
    """
    alpha = check_fraction("significance", significance)
    if alpha >= 0.5:
        raise UsageError(f"`significance` must be below 0.5, got {significance!r}. Give the chance of error (0.01).")
    truth, allowed = as_number("effect", effect), as_number("limit", limit)
    if not (math.isfinite(truth) and 0.0 <= allowed < math.inf):
        raise UsageError(f"`effect` must be finite and `limit` finite and >= 0, got {effect!r} and {limit!r}.")
    gap = truth - allowed if truth > allowed else allowed - abs(truth)
    quantiles = float(special.ndtri(1.0 - alpha) + special.ndtri(check_fraction("power", power)))
    if gap <= 0.0 or 2.0 * (quantiles / gap) ** 2 > MOST:
        return None
    return max(LEAST, math.ceil(2.0 * (quantiles / gap) ** 2))
