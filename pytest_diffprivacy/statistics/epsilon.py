"""Empirical epsilon: a lower bound from what an attacker recognised.

(epsilon, delta)-differential privacy limits every attack: TPR <= e^epsilon FPR + delta, and the same for the two other
rates. So rates that were reached prove a lower bound of epsilon. The bound is a statement about the training procedure
only if the canaries were independent trials of it: many retrained models, or one run with coin flips (`one_run`). With
natural images and one model the number is an empirical epsilon of this split. No audit bounds epsilon from above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    as_number,
    check_count,
    check_fraction,
    check_sides,
    check_significance,
)
from pytest_diffprivacy.statistics.binomial import lower_bound, upper_bound

Threshold = Literal["split", "every vertex", "given"]
Route = Literal["rates", "gaussian"]


@dataclass(frozen=True, slots=True)
class EpsilonBound:
    """A lower bound of epsilon: the true epsilon is above it with probability at least `confidence`.

    Attributes:
        value: the bound in nats, 0 if nothing is shown.
        threshold: "score >= threshold" that gave it.
        chosen: how the threshold was chosen: "given" beforehand, on the other half ("split"), or as the best of the ROC
            hull's vertices at a significance divided by their number ("every vertex").
        route: "rates": from the definition; "gaussian": if the mechanism's trade-off curve is a Gaussian one.
        true_positives: of `members`, those at or above the threshold.
        false_positives: of `nonmembers`, those at or above it.
    """

    value: float
    threshold: float
    chosen: Threshold
    route: Route
    delta: float
    confidence: float
    true_positives: int
    members: int
    false_positives: int
    nonmembers: int


def epsilon_lower_bound(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    delta: float = 0.0,
    confidence: float = 0.95,
    threshold: float | Literal["split", "every vertex"] = "split",
    route: Route = "rates",
    two_sided: bool = True,
    seed: int = 0,
) -> EpsilonBound:
    """Bound epsilon from below by Clopper-Pearson bounds of TPR and FPR; **a higher score means more likely a member**.

    Args:
        member_scores: shape (n1,), finite: the outcomes of trials with the canary.
        nonmember_scores: shape (n0,), finite: of trials without it.
        delta: of the claim, in [0, 1).
        confidence: of the bound, in (0.5, 1).
        threshold: "split": the best of one half, judged on the other; "every vertex": the best vertex of the ROC hull,
            corrected for their number; or a number that was fixed before these scores were seen.
        route: "gaussian" assumes a Gaussian trade-off curve, which is sharper and wrong for other mechanisms.
        two_sided: also use how well non-members are recognised.
        seed: of the halves.

    Returns:
        The bound with its threshold and counts.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: a split of fewer than 2 members or non-members.

    Source: Implements METHODS 7.4. "every vertex" divides the significance as google-deepmind/jax_privacy does.
    """
    significance = check_significance(confidence)
    member, nonmember = check_sides(member_scores, nonmember_scores)
    delta = check_fraction("delta", delta, zero=True)
    if route not in ("rates", "gaussian"):
        raise UsageError(f"`route` must be 'rates' or 'gaussian', got {route!r}. Choose one of them.")
    count = _Counts(member, nonmember)

    def bound(counts: tuple[int, int, int, int], significance: float) -> float:
        if route == "gaussian":
            return _gaussian(counts, significance, delta)
        return _from_rates(counts, significance, delta, two_sided=two_sided)

    chosen: Threshold = "given"
    if threshold == "split":
        if min(member.size, nonmember.size) < 2:
            raise InsufficientProbes("Cannot split fewer than 2 members and 2 non-members. Add canaries.", needed=2)
        first, count = _halves(member, nonmember, check_count("seed", seed, least=0))
        at = max(first.hull(), key=lambda t: bound(first.at(t), significance))
        chosen = "split"
    elif threshold == "every vertex":
        vertices = count.hull()
        significance /= len(vertices)
        at = max(vertices, key=lambda t: bound(count.at(t), significance))
        chosen = "every vertex"
    else:
        at = as_number("threshold", threshold)
        if math.isnan(at):
            raise UsageError(f"`threshold` must be 'split', 'every vertex' or a number, got {threshold!r}.")
    hits, members, alarms, nonmembers = count.at(at)
    return EpsilonBound(
        value=bound((hits, members, alarms, nonmembers), significance),
        threshold=at,
        chosen=chosen,
        route=route,
        delta=delta,
        confidence=float(confidence),
        true_positives=hits,
        members=members,
        false_positives=alarms,
        nonmembers=nonmembers,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Both sides' scores, asked for the counts at a threshold."""

    member: FloatArray
    nonmember: FloatArray

    def at(self, threshold: float) -> tuple[int, int, int, int]:
        """True positives, members, false positives, non-members."""
        hits = int(np.count_nonzero(self.member >= threshold))
        return hits, self.member.size, int(np.count_nonzero(self.nonmember >= threshold)), self.nonmember.size

    def hull(self) -> list[float]:
        """Thresholds of the vertices of the upper convex hull of the ROC, the end points included."""
        thresholds = np.append(np.inf, np.unique(np.concatenate((self.member, self.nonmember)))[::-1])
        hits, alarms = (
            side.size - np.searchsorted(np.sort(side), thresholds) for side in (self.member, self.nonmember)
        )
        kept: list[tuple[int, int, float]] = []
        for alarm, hit, threshold in zip(alarms.tolist(), hits.tolist(), thresholds.tolist(), strict=True):
            while len(kept) > 1 and _not_above(kept[-2], kept[-1], (alarm, hit)):
                kept.pop()
            kept.append((alarm, hit, threshold))
        return [threshold for _, _, threshold in kept]


def _not_above(before: tuple[int, int, float], middle: tuple[int, int, float], after: tuple[int, int]) -> bool:
    """Whether the middle point lies on or below the line from before to after; in whole numbers, hence exact."""
    run, rise = middle[0] - before[0], middle[1] - before[1]
    return run * (after[1] - before[1]) >= rise * (after[0] - before[0])


def _halves(member: FloatArray, nonmember: FloatArray, seed: int) -> tuple[_Counts, _Counts]:
    stream = np.random.default_rng(seed)
    first, second = stream.permutation(member), stream.permutation(nonmember)
    i, j = first.size // 2, second.size // 2
    return _Counts(first[:i], second[:j]), _Counts(first[i:], second[j:])


def _from_rates(counts: tuple[int, int, int, int], significance: float, delta: float, *, two_sided: bool) -> float:
    """max(0, log((TPR_lo - delta) / FPR_hi), log((TNR_lo - delta) / FNR_hi)), each bound at half the significance."""
    hits, members, alarms, nonmembers = counts
    tpr = lower_bound(hits, members, significance / 2.0)
    fpr = upper_bound(alarms, nonmembers, significance / 2.0)
    ratios = [(tpr - delta) / fpr]
    if two_sided:
        ratios.append((1.0 - fpr - delta) / (1.0 - tpr))
    return max([0.0, *(math.log(ratio) for ratio in ratios if ratio > 0.0)])


def _gaussian(counts: tuple[int, int, int, int], significance: float, delta: float) -> float:
    """Epsilon at delta of the least mu-GDP that allows these rates.

    Source: METHODS 7.4; Dong, Roth and Su (2022), Corollary 2.13.
    """
    hits, members, alarms, nonmembers = counts
    fpr = upper_bound(alarms, nonmembers, significance / 2.0)
    fnr = upper_bound(members - hits, members, significance / 2.0)
    mu = float(-special.ndtri(fpr) - special.ndtri(fnr))
    return gaussian_epsilon(mu, delta) if mu > 0.0 else 0.0


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon at `delta` of the Gaussian mechanism whose sensitivity is `mu` standard deviations.

    Args:
        mu: sensitivity over standard deviation, above 0 and finite.
        delta: in (0, 1); at delta 0 no epsilon is finite.

    Returns:
        The smallest epsilon, at least 0, with `Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2) <= delta`.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements Dong, Roth and Su (2022), Corollary 2.13; METHODS 7.4.
    """
    size, allowed = as_number("mu", mu), check_fraction("delta", delta)
    if not 0.0 < size < math.inf:
        raise UsageError(f"`mu` must be above 0 and finite, got {mu!r}.")

    def excess(eps: float) -> float:
        first = special.ndtr(-eps / size + size / 2.0)
        return float(first - math.exp(eps + float(special.log_ndtr(-eps / size - size / 2.0)))) - allowed

    if excess(0.0) <= 0.0:
        return 0.0
    most = size * size / 2.0 + size * float(-special.ndtri(allowed))  # where the first term alone equals delta
    return float(scipy.optimize.brentq(excess, 0.0, most, xtol=1e-13, rtol=1e-14))


def largest_provable_epsilon(members: int, nonmembers: int, *, delta: float = 0.0, confidence: float = 0.95) -> float:
    """The bound that an attack without any error would reach at a threshold given beforehand.

    A claimed epsilon above it cannot be refuted with so few trials, whatever the attack.

    Raises:
        UsageError: an argument is out of range.

    Source: METHODS 7.4.
    """
    n1, n0 = check_count("members", members, least=1), check_count("nonmembers", nonmembers, least=1)
    delta = check_fraction("delta", delta, zero=True)
    return _from_rates((n1, n1, 0, n0), check_significance(confidence), delta, two_sided=True)
