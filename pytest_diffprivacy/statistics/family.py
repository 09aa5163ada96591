"""Family TPR: what several attacks prove about one claim. PASS needs every bound, FAIL is corrected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_count, check_fraction, check_significance
from pytest_diffprivacy.statistics.exact_split import lower_split, threshold_rates, upper_split
from pytest_diffprivacy.statistics.p_values import Holm, holm
from pytest_diffprivacy.statistics.roc import roc_curve
from pytest_diffprivacy.statistics.sample_size import (
    HINT,
    POWER,
    Plan,
    search_size,
    smallest_shown,
    verdict_chance,
)
from pytest_diffprivacy.statistics.statistic import WORDS, Statistic, Stored, recorded_arguments, statistic
from pytest_diffprivacy.statistics.tpr import TprAtFpr, nonmembers_needed, tpr_at_fpr, tpr_p_value
from pytest_diffprivacy.statistics.verdict import Bounded, Verdict, decide

IMAGES = ("members", "non-members")


@dataclass(frozen=True, slots=True)
class FamilyTpr(Bounded):
    """The largest TPR of a family of attacks, with bounds for the whole family.

    Attributes:
        value: largest point estimate.
        low: largest of the lower bounds, each at 1 - (1 - confidence) / attacks: above the limit, some attack is.
            Holm's correction refutes some attack exactly if this bound does.
        high: largest of the upper bounds, each at `confidence`: at most the limit, all attacks are.
        confidence: of `low` and of `high`.
        attacks: name -> that attack's own estimate at `confidence`.
        worst: the attack with the largest lower bound; of equals the one with the largest point estimate.
    """

    attacks: Mapping[str, TprAtFpr]
    worst: str


def family_tpr(
    scores: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    max_fpr: float,
    confidence: float = 0.95,
    limit: float | None = None,
    rule: int = 2,
) -> FamilyTpr:
    """Judge one claim by several attacks on the same probes.

    The claim "no attack of the family exceeds the limit" passes iff each attack passes on its own (intersection-union,
    no correction: a false PASS needs a false PASS of the attack that does exceed it). It fails iff some attack's lower
    bound exceeds the limit after Bonferroni's correction for their number.

    Args:
        scores: attack -> (member scores, non-member scores); the family is fixed before the scores are seen.
        max_fpr: allowed share of non-members taken for members.
        confidence: of the family's lower and upper bound.
        limit: what the TPR will be compared with, fixed before any score was seen; as in `tpr_at_fpr`.
        rule: as in `tpr_at_fpr`.

    Raises:
        UsageError: no attack, or a bad argument.
        InsufficientProbes: max_fpr is below the resolution of the non-members.

    Source: Implements Berger 1982 (intersection-union) and Bonferroni's inequality; METHODS 7.8.
    """
    if not scores:
        raise UsageError("`scores` must hold at least one attack, got none.")
    corrected = 1.0 - check_significance(confidence) / len(scores)

    def bounded(both: tuple[ArrayLike, ArrayLike], level: float) -> TprAtFpr:
        return tpr_at_fpr(*both, max_fpr=max_fpr, confidence=level, limit=limit, rule=rule)

    own = {name: bounded(both, confidence) for name, both in scores.items()}
    strict = {name: bounded(both, corrected) for name, both in scores.items()}
    worst = max(own, key=lambda name: (strict[name].low, own[name].value))
    return FamilyTpr(
        value=max(estimate.value for estimate in own.values()),
        low=strict[worst].low,
        high=max(estimate.high for estimate in own.values()),
        confidence=float(confidence),
        attacks=own,
        worst=worst,
    )


@statistic("family_tpr")
@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyTprStatistic(Statistic):
    """The TPR at a limited FPR of one or several attacks: arrays "members" and "nonmembers", one an attack.

    Attributes:
        max_fpr: allowed share of non-members taken for members.
        limit: of the claim, by which the ranks are chosen; None: those of the half-half split.
        rule: 2; 1: half of the significance for the threshold and half for the rate.
        attacks: names of the attacks in the result, in the order of the arrays; empty: their numbers.
        sides: what the two sides are called.
        reference: whether the claim is about the share above a quantile (1 - `max_fpr`) of a reference.
    """

    max_fpr: float
    confidence: float = 0.95
    limit: float | None = None
    rule: int = 2
    attacks: tuple[str, ...] = field(default=(), metadata=WORDS, compare=False)
    sides: tuple[str, str] = field(default=IMAGES, metadata=WORDS, compare=False)
    reference: bool = field(default=False, metadata=WORDS, compare=False)

    def measure(self, arrays: Stored) -> FamilyTpr:
        """`family_tpr` of all attacks."""
        try:
            return family_tpr(self._scores(arrays), **recorded_arguments(self))
        except InsufficientProbes as error:
            if not self.reference:
                raise
            others = self.sides[1]
            raise InsufficientProbes(
                f"Cannot bound the share above the {1.0 - self.max_fpr:g} quantile of {len(arrays['nonmembers'][0])} "
                f"{others}: at least {error.needed} are needed. Lower `reference_quantile` or add {others}.",
                needed=error.needed,
            ) from error

    def needed(self, arrays: Stored, measured: FamilyTpr, limit: float) -> str:
        """Probes a side that would decide by the worst attack; a FAIL is judged at the corrected confidence."""
        scores = self._scores(arrays)[measured.worst]
        clean = measured.attacks[measured.worst].low <= self.max_fpr
        return tpr_hint(*scores, limit, self, attacks=len(measured.attacks), clean=clean, sides=self.sides)

    def p_value(self, arrays: Stored, limit: float) -> float:
        """The smallest of the attacks' own, times their number."""
        scores = self._scores(arrays)
        level = 1.0 - (1.0 - self.confidence) / len(scores)
        p = (
            tpr_p_value(*both, limit, max_fpr=self.max_fpr, confidence=level, designed=self.limit, rule=self.rule)
            for both in scores.values()
        )
        return min(1.0, len(scores) * min(p))

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for the numbers of both sides."""
        return tpr_facts(counts, limit, self, self.sides, attacks=max(1, len(self.attacks)))

    def _scores(self, arrays: Stored) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        pairs = list(zip(arrays["members"], arrays["nonmembers"], strict=True))
        names = self.attacks or tuple(str(number) for number in range(len(pairs)))
        return dict(zip(names, pairs, strict=True))


class Bound(Protocol):
    """What is bounded: a TPR at this FPR, at this confidence."""

    @property
    def max_fpr(self) -> float:
        """Allowed share of non-members taken for members."""

    @property
    def confidence(self) -> float:
        """Of each bound."""


def tpr_facts(
    counts: tuple[int, ...], limit: float, bound: Bound, sides: tuple[str, str] = IMAGES, *, attacks: int = 1
) -> dict[str, str]:
    """What sides of these numbers can show about the share of the first beyond a threshold that the second sets."""
    first, second = counts
    counted = ", duplicates counted" if sides == IMAGES else ""
    found = plan_tpr(first, second, limit=limit, max_fpr=bound.max_fpr, confidence=bound.confidence, attacks=attacks)
    return {"probes": f"{first} {sides[0]}, {second} {sides[1]}{counted}"} | found.facts("share", sides[1])


def tpr_hint(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    limit: float,
    bound: Bound,
    *,
    attacks: int = 1,
    clean: bool = False,
    sides: tuple[str, str] = IMAGES,
) -> str:
    """What would decide a TPR with probability 0.9; where nothing need leak (`clean`), also what would then.

    An estimate of few probes that did not pass lies above the truth more often than not, so its number alone would ask
    a model without a leak for more than that needs.
    """
    given = {"max_fpr": bound.max_fpr, "confidence": bound.confidence, "power": HINT}
    decided = probes_needed_for_tpr(member_scores, nonmember_scores, limit, attacks=attacks, **given)
    enough = tpr_pass_needs(limit, bound.max_fpr, bound.confidence, power=HINT, attacks=attacks)
    first, second = sides
    more = enough is not None and enough > min(np.size(member_scores), np.size(nonmember_scores))
    if clean and enough is not None and more and enough < (decided or math.inf):
        observed = "no number decides" if decided is None else str(decided)
        return (
            f"about {enough} {first} and as many {second} would decide with probability {HINT:g} if nothing leaks, "
            f"{observed} at the observed rate"
        )
    if decided is None or (clean and enough is None):
        return (
            "at the observed rate no number of probes decides; a model without any leak passes with "
            f"{enough or 'no number'} a side"
        )
    return f"about {decided} {first} and as many {second} would decide at the observed rate"


def probes_needed_for_tpr(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    limit: float,
    *,
    max_fpr: float,
    confidence: float = 0.95,
    power: float = 0.8,
    attacks: int = 1,
) -> int | None:
    """Return how many members, and as many non-members, would decide a TPR at a limited FPR.

    The observed ROC, its vertices joined by straight lines, is taken for the truth; a vertex with c of n0 false
    positives lies at the FPR (c + 1) / (n0 + 1), which its threshold has in the mean. At c / n0 it would promise too
    little: the TPR of few non-members is biased upwards.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.
        limit: the largest TPR allowed, in [0, 1).
        max_fpr: as in `tpr_at_fpr`.
        confidence: of each bound, in (0.5, 1).
        power: probability with which that many decide, in (0, 1).
        attacks: in the family; a FAIL is corrected for their number.

    Returns:
        Probes a side, for a PASS if the ROC at `max_fpr` is at most the limit, else for a FAIL; None beyond
        10 million. More than the smaller set has now, if the verdict is INCONCLUSIVE now.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: `max_fpr` is below 1 / n0.

    Source: Implements METHODS 7.13 for the bounds of 7.2 (exact split), the threshold's distribution by 64 quantiles.
    """
    allowed = check_fraction("limit", limit, zero=True)
    now = tpr_at_fpr(member_scores, nonmember_scores, max_fpr=max_fpr, confidence=confidence, limit=allowed)
    curve = roc_curve(member_scores, nonmember_scores)
    last = np.append(np.diff(curve.fpr) > 0.0, True)  # the highest TPR of each FPR
    fpr = (np.rint(curve.fpr[last] * now.nonmembers) + 1.0) / (now.nonmembers + 1.0)
    tpr = curve.tpr[last]
    undecided = decide(now, allowed).verdict is Verdict.INCONCLUSIVE
    start = min(now.members, now.nonmembers) + 1 if undecided else 1

    def roc(f: FloatArray) -> FloatArray:
        return np.asarray(np.interp(f, fpr, tpr), dtype=np.float64)

    fails = float(roc(np.array([now.max_fpr]))[0]) > allowed
    significance = check_significance(confidence) / (check_count("attacks", attacks, least=1) if fails else 1)

    def chance(n: int) -> float:
        return _chance((n, n), roc, allowed, now.max_fpr, significance, fails=fails)

    return search_size(chance, power, start)


def tpr_pass_needs(
    limit: float, max_fpr: float, confidence: float = 0.95, *, power: float = 0.8, attacks: int = 1
) -> int | None:
    """Return how many members, and as many non-members, let a model without any leak pass; None: no number does.

    Several attacks must all pass; their scores are taken for independent.

    Source: Implements METHODS 7.13, rows "no leak" (without a leak TPR = FPR).
    """
    significance = check_significance(confidence)
    x, allowed = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    if allowed <= x:
        return None
    each = check_fraction("power", power) ** (1.0 / check_count("attacks", attacks, least=1))
    return search_size(lambda n: _chance((n, n), lambda f: f, allowed, x, significance, fails=False), each)


def plan_tpr(
    members: int,
    nonmembers: int,
    *,
    limit: float,
    max_fpr: float,
    confidence: float = 0.95,
    power: float = POWER,
    attacks: int = 1,
) -> Plan:
    """Plan a TPR at a limited FPR by so many members and non-members; leaks are those of two normal distributions.

    Of several attacks, all must pass, and one that leaks must fail at the corrected confidence.

    Source: Implements METHODS 7.13 for the bounds of 7.2 (exact split), the threshold's distribution by 64 quantiles.
    """
    sizes = check_count("members", members, least=1), check_count("nonmembers", nonmembers, least=1)
    x, allowed = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    significance, goal = check_significance(confidence), check_fraction("power", power)
    strict = significance / check_count("attacks", attacks, least=1)

    def fails(tpr: float) -> float:
        shift = float(special.ndtri(tpr) - special.ndtri(x))
        return _chance(sizes, lambda f: special.ndtr(special.ndtri(f) + shift), allowed, x, strict, fails=True)

    one = _chance(sizes, lambda f: f, allowed, x, significance, fails=False)
    return Plan(
        pass_chance=one**attacks,
        pass_needs=tpr_pass_needs(allowed, x, confidence, power=goal, attacks=attacks),
        fail_needs=nonmembers_needed(x, 1.0 - strict),
        smallest=smallest_shown(fails, max(x, allowed), goal),
        power=goal,
        attacks=attacks,
        pass_most=one if attacks > 1 else None,
    )


def _chance(
    sizes: tuple[int, int],
    roc: Callable[[FloatArray], FloatArray],
    limit: float,
    x: float,
    significance: float,
    *,
    fails: bool,
) -> float:
    """Chance that so many members and non-members decide when the true ROC is `roc`; the threshold's FPR is Beta."""
    n1, n0 = sizes
    split = (lower_split if fails else upper_split)(n0, n1, x, significance, limit)
    if split.rank is None:
        return 0.0
    return verdict_chance(n1, roc(threshold_rates(split.rank, n0)), limit, split.rate, fails=fails)


@dataclass(frozen=True, slots=True)
class FamilyTest:
    """Which attacks of a family exceed the limit.

    Attributes:
        p_values: attack -> its own p-value against "at most the limit".
        adjusted: attack -> the same after Holm's correction for their number.
        refuted: the attacks that exceed the limit after the correction.
        p_value: of the claim "none of them does": the smallest adjusted one.
    """

    p_values: Mapping[str, float]
    adjusted: Mapping[str, float]
    refuted: tuple[str, ...]
    p_value: float


def family_test(
    scores: Mapping[str, tuple[ArrayLike, ArrayLike]], limit: float, *, max_fpr: float, confidence: float = 0.95
) -> FamilyTest:
    """Test each attack of a family against the limit, corrected for their number.

    Args:
        scores: attack -> (member scores, non-member scores); the family is fixed before the scores are seen.
        limit: the largest TPR allowed, in [0, 1).
        max_fpr: allowed share of non-members taken for members.
        confidence: one minus the significance of the family.

    Raises:
        UsageError: no attack, or a bad argument.
        InsufficientProbes: max_fpr is below the resolution of the non-members.

    Source: Implements Holm (1979) on the p-values of METHODS 7.2; METHODS 7.8.
    """
    allowed = check_fraction("limit", limit, zero=True)
    if not scores:
        raise UsageError("`scores` must hold at least one attack, got none.")
    significance = check_significance(confidence)
    level = 1.0 - significance / len(scores)
    p = {
        name: tpr_p_value(*both, allowed, max_fpr=max_fpr, confidence=level, designed=allowed)
        for name, both in scores.items()
    }
    corrected: Holm = holm(list(p.values()), significance=significance)
    return FamilyTest(
        p_values=p,
        adjusted=dict(zip(p, corrected.adjusted, strict=True)),
        refuted=tuple(name for name, refuted in zip(p, corrected.refuted, strict=True) if refuted),
        p_value=min(corrected.adjusted),
    )
