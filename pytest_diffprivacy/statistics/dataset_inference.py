"""Can a set of images be recognised as training data as a whole, although no single image can?

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    as_number,
    check_count,
    check_scores,
    check_significance,
)
from pytest_diffprivacy.statistics.mean_shift import LEAST, PERMUTATIONS, PermutationShift, Shift, WelchShift

BISECTIONS = 200

ShiftTest = Literal["welch", "permutation"]
Combine = Literal["mean", "median"]

COMBINERS: Final[Mapping[str, Callable[[FloatArray], float]]] = {
    "mean": lambda p: float(np.mean(p)),  # Rüschendorf 1982; Vovk and Wang 2020
    "median": lambda p: float(np.median(p)),  # Meinshausen, Meier and Bühlmann 2009, with gamma = 1/2
}


@dataclass(frozen=True, slots=True)
class SplitLogits:
    """What one scorer says about the test images of its split; higher = more likely member."""

    members: ArrayLike
    nonmembers: ArrayLike


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """Mean logit of members minus mean logit of non-members: median over the splits, bounds as for the effect."""

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class DatasetInference:
    """How far a scorer sets members and non-members apart as sets; 0 = not at all.

    Attributes:
        value: the effect: difference of the mean logits over their root mean variance (Cohen's d), median over splits.
        low: lower bound; above 0 iff `p_value` is below the significance 1 - confidence.
        high: upper bound of the effect's size in either direction, since a reversed scorer sets apart as well; the
            largest of the splits', so it is never 0.
        confidence: of each bound.
        p_value: against "no scorer sets members higher"; of several splits twice their mean (or median), at most 1.
        split_p_values: one a split.
        difference: the same in logits.
        member_mean: mean logit of the members, median over splits.
        nonmember_mean: mean logit of the non-members, median over splits.
        members: test members of a split.
        nonmembers: test non-members of a split.
        test: "welch" or "permutation".
        combine: "mean" or "median".
    """

    value: float
    low: float
    high: float
    confidence: float
    p_value: float
    split_p_values: tuple[float, ...]
    difference: MeanDifference
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
    test: ShiftTest = "welch",
    combine: Combine = "mean",
    seed: int = 0,
) -> DatasetInference:
    """Measure how far scorers set test members and test non-members apart; **a higher logit means a member**.

    Args:
        logits: one pair a split, each from a scorer that saw none of them; at least 10 finite logits a side.
        confidence: of each bound, in (0.5, 1); the significance of the test is 1 - confidence.
        test: "welch", one-sided; or "permutation" of the mean difference, exact for exchangeable images.
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
    difference = MeanDifference(
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
    test: ShiftTest = "welch",
    combine: Combine = "mean",
    seed: int = 0,
) -> float:
    """Return the p-value of "the effect is at most `limit`" that `dataset_inference` inverts; at 0 it is its `p_value`.

    Args:
        logits: as for `dataset_inference`.
        limit: an effect, finite.
        test: "welch" or "permutation".
        combine: "mean" or "median".
        seed: of the permutations.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: fewer than 10 test images a side.
        AuditError: the scorer measured nothing.

    Source: METHODS 3.13 and 7.6.
    """
    allowed, pairs = as_number("limit", limit), [_checked(pair) for pair in logits]
    shifts, spreads = _shifts(pairs, test, seed), _spreads(pairs)
    each = [shift.p_above(allowed * float(spread)) for shift, spread in zip(shifts, spreads, strict=True)]
    return combined_p_value(each, combine=combine)


def combined_p_value(p_values: ArrayLike, *, combine: Combine = "mean") -> float:
    """Combine p-values that depend on each other in any way: twice their mean or median, at most 1; one stays itself.

    Raises:
        UsageError: not p-values, or no such combination.

    Source: Rüschendorf 1982 and Vovk and Wang 2020 (mean); Meinshausen, Meier and Bühlmann 2009 (median).
    """
    p = check_scores("p_values", p_values)
    if p.min() < 0.0 or p.max() > 1.0:
        raise UsageError(f"`p_values` must be in [0, 1], got values in [{p.min():g}, {p.max():g}].")
    if combine not in COMBINERS:
        raise UsageError(f"`combine` must be one of {', '.join(COMBINERS)}, got {combine!r}.")
    return float(p[0]) if p.size == 1 else min(1.0, 2.0 * COMBINERS[combine](p))


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
