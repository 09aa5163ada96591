"""Gaussian one-run epsilon: what one training run proves about epsilon, if its trade-off curve is declared Gaussian.

Declared is the curve alone: whatever is known of all other coins, what the training reveals of a canary is at most what
a Gaussian mechanism of sensitivity mu reveals. Canaries may share what they reveal. Which numbers of right guesses this
makes improbable follows by a recursion over them (f-differential privacy in one run). `one_run` declares no curve, and
proves less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import as_number, check_fraction, check_rule, check_significance
from pytest_diffprivacy.statistics.epsilon import gaussian_epsilon
from pytest_diffprivacy.statistics.one_run import GuessedEpsilon, GuessStatistic, check_guesses
from pytest_diffprivacy.statistics.statistic import statistic

LARGEST_MU = 36.0
"""An epsilon beyond that of this sensitivity, 820 at delta 1e-5, is refuted by no number of canaries."""
MOST_CANARIES = 2**20
WIDTH = 1e-10


@dataclass(frozen=True, slots=True)
class GaussianOneRun(GuessedEpsilon):
    """The bound at `delta` for a Gaussian trade-off curve; `mu` is the bound in standard deviations of its noise."""

    mu: float


def one_run_fdp(m: int, guesses: int, correct: int, *, delta: float, confidence: float = 0.95) -> GaussianOneRun:
    """Bound epsilon from below: that of the steepest Gaussian trade-off curve that the guesses refute.

    Args:
        m: canaries, at least 1, each included by its own fair coin.
        guesses: r, 1 to m, fixed before the coins were seen; few and sure ones prove most.
        correct: v, 0 to r.
        delta: of the claim, in [0, 1).
        confidence: of the bound, in (0.5, 1).

    Returns:
        The bound, mu to 1e-10, with its counts; at delta 0 it is infinite where any mu is refuted: no Gaussian curve
        has a finite epsilon there.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements Mahloujifar, Melis and Chaudhuri (2024) for the Gaussian curve of Dong, Roth and Su (2022), by
    bisection; METHODS 7.5.
    """
    m, r, v = check_guesses(m, guesses, correct)
    allowed, significance = check_fraction("delta", delta, zero=True), check_significance(confidence)
    below, above = 0.0, LARGEST_MU
    if _refuted(m, r, v, 0.0, significance):
        while above - below > WIDTH:
            middle = (below + above) / 2.0
            below, above = (middle, above) if _refuted(m, r, v, middle, significance) else (below, middle)
    value = 0.0 if below == 0.0 else gaussian_epsilon(below, allowed) if allowed else math.inf
    return GaussianOneRun(value, m, r, v, allowed, float(confidence), mu=below)


def _refuted(m: int, r: int, v: int, mu: float, significance: float) -> bool:
    """Whether v right guesses are less probable than the significance, if no curve of a canary is steeper than mu's."""
    a, b = significance * v / m, significance * (r - v) / m
    for i in range(v - 1, -1, -1):
        beyond = float(special.ndtr(special.ndtri(min(1.0, a)) - mu))
        if beyond > b:
            a, b = a + i / (r - i) * (beyond - b), beyond
        elif i < v - 1:  # neither moves any more
            break
        if a + b > r / m:
            return True
    return a + b > r / m


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Sensitivity in standard deviations of the Gaussian mechanism that is exactly (epsilon, delta)-private.

    Args:
        epsilon: above 0 and at most that of sensitivity 36.
        delta: in (0, 1).

    Raises:
        UsageError: an argument is out of range.

    Source: Inverts Dong, Roth and Su (2022), Corollary 2.13; METHODS 7.4.
    """
    eps, allowed = as_number("epsilon", epsilon), check_fraction("delta", delta)
    most = gaussian_epsilon(LARGEST_MU, allowed)
    if not 0.0 < eps <= most:
        raise UsageError(f"`epsilon` must be above 0 and at most {most:.4g}, got {epsilon!r}. No canary refutes it.")
    least = 2.0 * float(special.ndtri((1.0 + allowed) / 2.0))  # below it epsilon is 0
    return float(scipy.optimize.brentq(lambda mu: gaussian_epsilon(mu, allowed) - eps, least, LARGEST_MU, xtol=1e-12))


def gaussian_canaries_needed(epsilon: float, delta: float, *, share: float = 1.0, confidence: float = 0.95) -> int:
    """How many canaries, if a share of them is guessed and all guesses are right, refute this epsilon; at most 2^20.

    Raises:
        UsageError: an argument is out of range.

    Source: Inverts `one_run_fdp` in the number of canaries.
    """
    significance, part = check_significance(confidence), as_number("share", share)
    if not 0.0 < part <= 1.0:
        raise UsageError(f"`share` must be above 0 and at most 1, got {share!r}.")
    mu, few, many = gaussian_mu(epsilon, delta), 0, 1

    def refute(canaries: int) -> bool:
        guesses = max(1, round(part * canaries))
        return _refuted(canaries, guesses, guesses, mu, significance)

    while many < MOST_CANARIES and not refute(many):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if refute(middle) else (middle, many)
    return many


@statistic("one_run_gaussian")
@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianOneRunStatistic(GuessStatistic):
    """Epsilon of a mechanism whose trade-off curve is declared to be Gaussian, by right guesses.

    Attributes:
        rule: 2; records of rule 1 took canaries for independent, which the declaration does not say: they are refused.
    """

    guess_in: int
    guess_out: int
    delta: float
    confidence: float = 0.95
    rule: int = 2

    def __post_init__(self) -> None:
        """Refuse what is no longer computed."""
        if check_rule(self.rule) == 1:
            raise UsageError(
                "This bound was one by rule 1, which refutes valid mechanisms whose canaries share what they reveal. "
                "Judge the canaries again."
            )

    def bound(self, canaries: int, right: int) -> GaussianOneRun:
        """`one_run_fdp` of so many right guesses."""
        return one_run_fdp(canaries, self.guesses, right, delta=self.delta, confidence=self.confidence)

    def refuting(self, canaries: int, claimed: float) -> tuple[int, str]:
        """Canaries that would refute the claimed epsilon."""
        share = self.guesses / canaries
        needed = gaussian_canaries_needed(claimed, self.delta, share=share, confidence=self.confidence)
        return needed, "canaries are needed, as large a share of them guessed. Plant more."
