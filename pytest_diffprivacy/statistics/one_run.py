"""One-run epsilon: what one training run proves about epsilon, if many canaries were included by coin flips.

m canaries enter the training set by independent fair coins. Whoever guesses the coins of r of them from the model and
is right v times has done something that (epsilon, delta)-differential privacy makes improbable: each guess is right
with probability at most e^epsilon / (1 + e^epsilon). Nothing here can see whether the coins were fair and independent;
that is what a stored seed is for.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its submodules are loaded when they are used: scipy.stats takes half a second
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import (
    as_number,
    check_count,
    check_fraction,
    check_scores,
    check_significance,
)
from pytest_diffprivacy.statistics.sample_size import POWER
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Measured

WIDTH = 1e-12


@dataclass(frozen=True, slots=True)
class GuessedEpsilon:
    """A lower bound of epsilon from one run: the true epsilon is above it with probability at least `confidence`.

    Attributes:
        value: the bound in nats; 0 if guessing by chance explains the guesses.
        canaries: m, all canaries, guessed or not.
        guesses: r, how many were guessed.
        correct: v, how many guesses were right.
    """

    value: float
    canaries: int
    guesses: int
    correct: int
    delta: float
    confidence: float

    @property
    def low(self) -> float:
        """The bound itself: it is what is compared with a claimed epsilon."""
        return self.value

    @property
    def high(self) -> float:
        """The bound itself: an audit never bounds epsilon from above, so a PASS says only that nothing was refuted."""
        return self.value


@dataclass(frozen=True, slots=True)
class OneRunEpsilon(GuessedEpsilon):
    """The bound for any mechanism; `p_value` is against epsilon = 0."""

    p_value: float


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float = 0.0) -> float:
    """P-value of "the training is (epsilon, delta)-differentially private", from the number of right guesses.

    Args:
        canaries: m, at least 1.
        guesses: r, 1 to m, fixed before the coins were seen.
        correct: v, 0 to r.
        epsilon: at least 0, finite.
        delta: in [0, 1).

    Raises:
        UsageError: an argument is out of range.

    Source: Implements Steinke, Nasr and Jagielski (2023), Theorem 5.2 and Appendix D; METHODS 7.5.
    """
    m, r, v = check_guesses(canaries, guesses, correct)
    eps = as_number("epsilon", epsilon)
    if not 0.0 <= eps < math.inf:
        raise UsageError(f"`epsilon` must be finite and at least 0, got {epsilon!r}.")
    return _p_value(m, r, v, eps, check_fraction("delta", delta, zero=True))


def one_run_epsilon(
    canaries: int, guesses: int, correct: int, *, delta: float = 0.0, confidence: float = 0.95
) -> OneRunEpsilon:
    """Bound epsilon from below: the largest value that the guesses refute.

    Args:
        canaries: m, at least 1, each included by its own fair coin.
        guesses: r, 1 to m, fixed before the coins were seen.
        correct: v, 0 to r.
        delta: of the claim, in [0, 1).
        confidence: of the bound, in (0.5, 1).

    Returns:
        The bound, to 1e-12, with its counts.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements Steinke, Nasr and Jagielski (2023), by bisection; METHODS 7.5.
    """
    significance = check_significance(confidence)
    m, r, v = check_guesses(canaries, guesses, correct)
    delta = check_fraction("delta", delta, zero=True)
    at_zero = _p_value(m, r, v, 0.0, delta)
    refuted, allowed = 0.0, 1.0
    if at_zero <= significance:
        while _p_value(m, r, v, allowed, delta) <= significance:
            refuted, allowed = allowed, 2.0 * allowed
        while allowed - refuted > WIDTH * max(1.0, allowed):
            middle = (refuted + allowed) / 2.0
            below = _p_value(m, r, v, middle, delta) <= significance
            refuted, allowed = (middle, allowed) if below else (refuted, middle)
    return OneRunEpsilon(refuted, m, r, v, delta, float(confidence), at_zero)


def guesses_needed(epsilon: float, *, confidence: float = 0.95) -> int:
    """How many guesses, all right, refute this epsilon at delta 0; with fewer no attack can.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements METHODS 7.5: all r right has probability (e^eps / (1 + e^eps))^r.
    """
    eps = as_number("epsilon", epsilon)
    if not 0.0 <= eps < 700.0:
        raise UsageError(f"`epsilon` must be at least 0 and below 700, got {epsilon!r}. Nothing refutes such a claim.")
    return math.floor(math.log(check_significance(confidence)) / -math.log1p(math.exp(-eps))) + 1


def correct_guesses(scores: ArrayLike, included: ArrayLike, *, guess_in: int, guess_out: int) -> int:
    """How many guesses are right when the highest scores are guessed "in" and the lowest "out".

    Args:
        scores: shape (m,), finite, **higher = more likely included**; equal scores are guessed in the order given,
            which must not depend on the coins.
        included: bool (m,), the coins.
        guess_in: k+, fixed before the coins were seen.
        guess_out: k-, likewise; the canaries between are not guessed.

    Raises:
        UsageError: shapes differ, or more guesses than canaries.

    Source: Implements Steinke, Nasr and Jagielski (2023), Algorithm 1.
    """
    values, coins = check_scores("scores", scores), np.asarray(included)
    if coins.dtype != np.bool_ or coins.shape != values.shape:
        raise UsageError(
            f"`included` must be {values.size} booleans, got dtype {coins.dtype} and shape {coins.shape}. "
            "Give one coin a canary."
        )
    top, bottom = check_count("guess_in", guess_in, least=0), check_count("guess_out", guess_out, least=0)
    if not 1 <= top + bottom <= values.size:
        raise UsageError(
            f"`guess_in` + `guess_out` must be between 1 and {values.size}, got {top} + {bottom}. Guess fewer."
        )
    order = np.argsort(-values, kind="stable")
    return int(coins[order[:top]].sum()) + int((~coins[order[values.size - bottom :]]).sum())


def _p_value(m: int, r: int, v: int, eps: float, delta: float) -> float:
    q = 1.0 / (1.0 + math.exp(-eps))
    tail = float(scipy.stats.binom.sf(v - 1, r, q))
    if delta == 0.0 or v == 0:
        return min(1.0, tail)
    i = np.arange(1, v + 1)
    gain = (scipy.stats.binom.sf(v - i - 1, r, q) - tail) / i
    return float(min(1.0, tail + 2.0 * m * delta * max(0.0, float(gain.max()))))


def check_guesses(canaries: int, guesses: int, correct: int) -> tuple[int, int, int]:
    """The three numbers, checked."""
    m, r = check_count("canaries", canaries, least=1), check_count("guesses", guesses, least=1)
    v = check_count("correct", correct, least=0)
    if not v <= r <= m:
        raise UsageError(f"`correct` <= `guesses` <= `canaries` must hold, got {v}, {r}, {m}. Count again.")
    return m, r, v


class GuessStatistic(Statistic):
    """Epsilon by right guesses, from the arrays "scores" and "included" of the canaries.

    Attributes:
        guess_in: how many of the highest scores are guessed to be included.
        guess_out: how many of the lowest are guessed not to be.
        delta: of the claim.
    """

    __slots__ = ()
    guess_in: int
    guess_out: int
    delta: float

    @abc.abstractmethod
    def bound(self, canaries: int, right: int) -> Measured:
        """What so many right guesses prove."""

    @abc.abstractmethod
    def refuting(self, canaries: int, claimed: float) -> tuple[int, str]:
        """How many would refute the claimed epsilon if all guesses were right: the number, and the words for it."""

    @property
    def guesses(self) -> int:
        """How many canaries are guessed."""
        return int(self.guess_in) + int(self.guess_out)

    def measure(self, arrays: Stored) -> Measured:
        """The bound that the right guesses prove."""
        scores, coins = only(arrays, "scores"), only(arrays, "included").astype(np.bool_)
        right = correct_guesses(scores, coins, guess_in=int(self.guess_in), guess_out=int(self.guess_out))
        return self.bound(scores.size, right)

    def check_refutable(self, canaries: int, claimed: float) -> None:
        """Raise `InsufficientProbes` if not even right guesses alone refute the claimed epsilon."""
        if self.bound(canaries, self.guesses).value <= claimed:
            raise self._too_few(canaries, claimed)

    def _too_few(self, canaries: int, claimed: float) -> InsufficientProbes:
        needed, how = self.refuting(canaries, claimed)
        cannot = f"{self.guesses} guesses cannot refute epsilon = {claimed:g} even if all are right"
        return InsufficientProbes(f"{cannot}: at least {needed} {how}", needed=needed)

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (canaries,)."""
        (canaries,) = counts
        found = plan_guesses(self.guesses, lambda right: self.bound(canaries, right).value, limit)
        facts = {"probes": f"{canaries} canaries, {self.guesses} of them guessed"}
        if found.right is None or found.smallest is None:
            return facts | {
                "to pass": f"undefined, because nothing could be refuted: {self._too_few(canaries, limit)}",
                "to fail": f"impossible: if every guess is right the bound is {found.most:.3g}",
            }
        return facts | {
            "to pass": "these suffice, since a refutation is possible; a PASS says that nothing was refuted, and no "
            "number proves it",
            "to fail": f"{found.right} right guesses of {self.guesses}, and the bound can reach {found.most:.3g}; the "
            f"smallest leak that these show with probability {found.power:g} is {found.smallest:.1%} right guesses, "
            f"which randomized response of epsilon {float(special.logit(found.smallest)):.3g} gives",
        }


@statistic("one_run")
@dataclass(frozen=True, slots=True, kw_only=True)
class OneRunStatistic(GuessStatistic):
    """Epsilon of any mechanism, by right guesses."""

    guess_in: int
    guess_out: int
    delta: float = 0.0
    confidence: float = 0.95

    def bound(self, canaries: int, right: int) -> OneRunEpsilon:
        """`one_run_epsilon` of so many right guesses."""
        return one_run_epsilon(canaries, self.guesses, right, delta=self.delta, confidence=self.confidence)

    def refuting(self, canaries: int, claimed: float) -> tuple[int, str]:
        """Guesses that would refute the claimed epsilon."""
        needed = guesses_needed(claimed, confidence=self.confidence)
        return needed, "are needed, more with delta above 0. Plant more canaries, or raise `guesses`."


@dataclass(frozen=True, slots=True)
class GuessPlan:
    """What so many guesses can show about a claimed epsilon; None where they can show nothing.

    Attributes:
        most: the bound if every guess is right.
        right: fewest right guesses that refute the claim.
        smallest: the smallest chance of a right guess with which that many are right with probability `power`.
        power: the probability.
    """

    most: float
    right: int | None
    smallest: float | None
    power: float


def plan_guesses(guesses: int, bound: Callable[[int], float], claimed: float, *, power: float = POWER) -> GuessPlan:
    """Plan a claim about epsilon by `bound`, which takes right guesses and does not fall with them.

    Source: Inverts the bounds of METHODS 7.5; the number of right guesses is taken as binomial.
    """
    count, goal = check_count("guesses", guesses, least=1), check_fraction("power", power)
    most = bound(count)
    if most <= claimed:
        return GuessPlan(most, None, None, goal)
    few, right = 0, count
    while right - few > 1:
        middle = (few + right) // 2
        few, right = (few, middle) if bound(middle) > claimed else (middle, right)
    return GuessPlan(most, right, float(special.betaincinv(right, count - right + 1, goal)), goal)
