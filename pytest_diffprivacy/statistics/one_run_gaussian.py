"""Gaussian one-run epsilon: what one training run proves about epsilon, if its mechanism is declared to be Gaussian.

Two assumptions, which no score can prove: what the training reveals of a canary is at most what a Gaussian mechanism of
sensitivity mu reveals, and no canary changes another's score. Then, given all scores, the coins are independent, and
nobody knows more about them than who sees x = mu u + noise of each canary and guesses the r with the largest
|x - mu / 2|. The number of right guesses lies stochastically below that guesser's, whose distribution is known: given
the share g of canaries beyond the last guess, which has a Beta law, it is binomial. `one_run` assumes neither, and
proves less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    as_number,
    check_fraction,
    check_significance,
)
from pytest_diffprivacy.statistics.epsilon import gaussian_epsilon
from pytest_diffprivacy.statistics.one_run import GuessedEpsilon, GuessStatistic, check_guesses
from pytest_diffprivacy.statistics.statistic import statistic

LARGEST_MU = 36.0
"""An epsilon beyond that of this sensitivity, 820 at delta 1e-5, is refuted by no number of canaries."""
WIDTH = 1e-10

_NODES = np.arange(256) / 256
"""Lower edges: the fewer canaries lie beyond the last guess, the surer the guesses, so p-values err upwards."""


@dataclass(frozen=True, slots=True)
class GaussianOneRun(GuessedEpsilon):
    """The bound at `delta` for a Gaussian mechanism; `mu` is the bound in standard deviations of its noise."""

    mu: float


def gaussian_one_run_p_value(canaries: int, guesses: int, correct: int, mu: float) -> float:
    """P-value of "the mechanism is Gaussian with sensitivity at most mu", from the number of right guesses.

    Args:
        canaries: m, at least 1, each included by its own fair coin.
        guesses: r, 1 to m, fixed before the coins were seen.
        correct: v, 0 to r.
        mu: sensitivity in standard deviations, 0 to 36.

    Returns:
        An upper bound of it, at most 1/256 above the best guesser's; exact where all canaries are guessed.

    Raises:
        UsageError: an argument is out of range.

    Source: Follows the GDP route of METHODS 7.4 (Dong, Roth and Su 2022) for the guesses of 7.5; the distribution of
    the best guesser, by 256 quantiles of the Beta law, is ours.
    """
    m, r, v = check_guesses(canaries, guesses, correct)
    shift = as_number("mu", mu)
    if not 0.0 <= shift <= LARGEST_MU:
        raise UsageError(f"`mu` must be between 0 and {LARGEST_MU:g}, got {mu!r}.")
    return _p_value(m, r, v, shift)


def gaussian_one_run_epsilon(
    canaries: int, guesses: int, correct: int, *, delta: float, confidence: float = 0.95
) -> GaussianOneRun:
    """Bound epsilon from below: that of the largest sensitivity that the guesses refute.

    Args:
        canaries: m, at least 1, each included by its own fair coin.
        guesses: r, 1 to m, fixed before the coins were seen.
        correct: v, 0 to r.
        delta: of the claim, in (0, 1).
        confidence: of the bound, in (0.5, 1).

    Returns:
        The bound, mu to 1e-10, with its counts.

    Raises:
        UsageError: an argument is out of range.

    Source: Inverts `gaussian_one_run_p_value` by bisection; METHODS 7.4 and 7.5.
    """
    m, r, v = check_guesses(canaries, guesses, correct)
    allowed, significance = check_fraction("delta", delta), check_significance(confidence)
    refuted, most = 0.0, LARGEST_MU
    if _p_value(m, r, v, 0.0) <= significance:
        while most - refuted > WIDTH:
            middle = (refuted + most) / 2.0
            below = _p_value(m, r, v, middle) <= significance
            refuted, most = (middle, most) if below else (refuted, middle)
    value = gaussian_epsilon(refuted, allowed) if refuted > 0.0 else 0.0
    return GaussianOneRun(value, m, r, v, allowed, float(confidence), mu=refuted)


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
    """How many canaries, if a share of them is guessed and all guesses are right, refute this epsilon.

    Raises:
        UsageError: an argument is out of range.

    Source: Inverts `gaussian_one_run_p_value` in the number of canaries.
    """
    significance, part = check_significance(confidence), as_number("share", share)
    if not 0.0 < part <= 1.0:
        raise UsageError(f"`share` must be above 0 and at most 1, got {share!r}.")
    mu, few, many = gaussian_mu(epsilon, delta), 0, 1

    def refute(canaries: int) -> bool:
        guesses = max(1, round(part * canaries))
        return _p_value(canaries, guesses, guesses, mu) <= significance

    while not refute(many):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if refute(middle) else (middle, many)
    return many


def _p_value(m: int, r: int, v: int, mu: float) -> float:
    if v == 0:
        return 1.0
    beyond = np.ones(1) if r == m else np.asarray(special.betaincinv(r + 1.0, float(m - r), _NODES))
    return float(special.betainc(v, r - v + 1.0, _right(beyond, mu)).mean())


def _right(beyond: FloatArray, mu: float) -> FloatArray:
    """How often guesses are right of canaries with |x - mu/2| above the value that a share `beyond` of them exceeds."""
    low, high = np.zeros_like(beyond), np.full_like(beyond, LARGEST_MU)
    for _ in range(50):
        middle = (low + high) / 2.0
        above = special.ndtr(mu / 2.0 - middle) + special.ndtr(-mu / 2.0 - middle) > beyond
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    hits, misses = special.ndtr(mu / 2.0 - low), special.ndtr(-mu / 2.0 - low)
    return np.asarray(hits / (hits + misses), dtype=np.float64)


@statistic("one_run_gaussian")
@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianOneRunStatistic(GuessStatistic):
    """Epsilon of a mechanism that is declared to be Gaussian, by right guesses."""

    guess_in: int
    guess_out: int
    delta: float
    confidence: float = 0.95

    def bound(self, canaries: int, right: int) -> GaussianOneRun:
        """`gaussian_one_run_epsilon` of so many right guesses."""
        return gaussian_one_run_epsilon(canaries, self.guesses, right, delta=self.delta, confidence=self.confidence)

    def refuting(self, canaries: int, claimed: float) -> tuple[int, str]:
        """Canaries that would refute the claimed epsilon."""
        share = self.guesses / canaries
        needed = gaussian_canaries_needed(claimed, self.delta, share=share, confidence=self.confidence)
        return needed, "canaries are needed, as large a share of them guessed. Plant more."
