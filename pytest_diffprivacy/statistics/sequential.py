"""Sequential mean: bounds of a stream that may be stopped as soon as they decide, after any item.

Bounds for a fixed number of trials may be looked at once: Clopper-Pearson checked every 50 trials up to 1,000
refutes a true rate of 0.5 in 20 % of runs at nominal 5 %. The capital of a gambler who bets against "the mean is at
most m" grows only if that is false, and reaches 1 / significance with at most that probability at any time (Ville).
The means that the gambler has not refuted so far are a confidence sequence: bounds that hold at all times together,
so that `decide` may compare them with a limit after every item.

Two processes: `"betting"` for any values in [0, 1], and `"mixture"` for successes and failures only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    IntArray,
    check_count,
    check_fraction,
    check_scores,
    check_sides,
    check_significance,
)
from pytest_diffprivacy.statistics.auroc import auroc_facts
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

Process: TypeAlias = Literal["betting", "mixture"]
Capital: TypeAlias = Callable[[FloatArray, float, float], FloatArray]

BISECTIONS = 64
MOST_PAIRS = 4096
TRUNCATION = 0.5
"""A bet risks at most this share of the capital."""


@dataclass(frozen=True, slots=True)
class SequentialMean(Bounded):
    """The mean of a stream, with bounds that hold at every time at once.

    Attributes:
        value: mean of the items so far.
        low: lower bound, the highest so far; each bound at `confidence`.
        high: upper bound, the lowest so far.
        items: how many items.
        process: "betting" or "mixture".
    """

    items: int
    process: Process


@final
class SequentialTest:
    """Judges "the mean of this stream is at most `limit`" and says when it may stop.

    Feed it, ask `decided`, stop or go on; then compare `measured()` with the limit by `decide`. Items after the
    deciding one are not taken, so that the outcome does not depend on how many items come at a time.

    Args:
        limit: largest mean allowed, in [0, 1).
        confidence: of each bound, in (0.5, 1); kept whenever one stops.
        process: "betting", or "mixture" for a stream of zeros and ones.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements the confidence sequences of Waudby-Smith and Ramdas (2024), section 4, by METHODS 7.9.
    """

    def __init__(self, limit: float, *, confidence: float = 0.95, process: Process = "betting") -> None:
        self.limit = check_fraction("limit", limit, zero=True)
        self.confidence, self.process = float(confidence), process
        self._significance = check_significance(confidence)
        self._capital = _capital(process)
        self._items: FloatArray = np.empty(0)
        self.decided = False

    @property
    def items(self) -> int:
        """Items taken: all that were fed, or those up to the deciding one."""
        return int(self._items.size)

    def feed(self, values: ArrayLike) -> bool:
        """Take the next items, in their order.

        Args:
            values: shape (n,), in [0, 1]; zeros and ones for "mixture".

        Returns:
            Whether the stream may stop: a bound has passed the limit.

        Raises:
            UsageError: a value is outside the range.
        """
        fresh = _check_items(values, self.process)
        if self.decided:
            return True
        before = self._items.size
        self._items = np.concatenate([self._items, fresh])
        goal = -math.log(self._significance)
        above = self._capital(self._items, self.limit, self._significance) > goal
        below = self._capital(1.0 - self._items, 1.0 - self.limit, self._significance) > goal
        deciding = np.flatnonzero((above | below)[before:])
        if deciding.size:
            self.decided = True
            self._items = self._items[: before + int(deciding[0]) + 1]
        return self.decided

    def measured(self) -> SequentialMean:
        """The mean and its confidence sequence at the last item taken.

        Raises:
            UsageError: nothing was fed.
        """
        return sequential_mean(self._items, confidence=self.confidence, process=self.process)


def sequential_mean(values: ArrayLike, *, confidence: float = 0.95, process: Process = "betting") -> SequentialMean:
    """Bound the mean of a stream so that the bounds hold at all times together.

    Args:
        values: the items so far in their order, shape (n,), in [0, 1]; zeros and ones for "mixture".
        confidence: of each bound, in (0.5, 1).
        process: "betting", or "mixture" for a stream of zeros and ones.

    Returns:
        The mean; as bounds the means up to which, and from which on, everything was refuted at some time so far.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements the confidence sequences of Waudby-Smith and Ramdas (2024), section 4, by METHODS 7.9.
    """
    significance = check_significance(confidence)
    items = _check_items(values, process)
    refuted = partial(_refuted_up_to, capital=_capital(process), significance=significance)
    return SequentialMean(
        value=float(items.mean()),
        low=refuted(items),
        high=1.0 - refuted(1.0 - items),
        confidence=float(confidence),
        items=items.size,
        process=process,
    )


@dataclass(frozen=True, slots=True)
class PairOrder:
    """Which member meets which non-member, in which order: pair i is (members[i], nonmembers[i])."""

    members: IntArray
    nonmembers: IntArray


def pair_order(members: int, nonmembers: int, *, seed: int) -> PairOrder:
    """Fix, before anything is scored, the pairs of a sequential membership test; each image meets once.

    Args:
        members: number of members.
        nonmembers: number of non-members.
        seed: seed of the order, >= 0.

    The pairs are draws without replacement, and `sequential_mean` bets as if they were independent. For the population
    that both sides are samples of they are: distinct images in random order. For the AUROC of these images alone the
    bounds are conservative: of n items without replacement from N with mean m a constant bet has the expected capital
    e_n / C(N, n), the mean of all products of n of the N factors 1 + bet (x - m), which by Maclaurin's inequality is at
    most the n-th power of their mean, 1. With bets that change, it is simulated in the tests.

    Returns:
        min(members, nonmembers) disjoint pairs in random order.

    Raises:
        UsageError: an argument is out of range.

    Source: METHODS 7.9.
    """
    n1, n0 = check_count("members", members, least=1), check_count("nonmembers", nonmembers, least=1)
    pairs = min(n1, n0)
    stream = np.random.default_rng([check_count("seed", seed, least=0), n1, n0])
    return PairOrder(stream.permutation(n1)[:pairs], stream.permutation(n0)[:pairs])


def pair_outcomes(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> FloatArray:
    """Say of each pair whether its member scores higher: 1, tie 0.5, else 0; the expected outcome is the AUROC.

    Args:
        member_scores: shape (n,), in the order of the pairs; **a higher score means more likely a member**.
        nonmember_scores: shape (n,).

    Returns:
        float64 (n,), to be fed to a `SequentialTest`.

    Raises:
        UsageError: not finite, or of two lengths.

    Source: METHODS 7.9.
    """
    first, second = check_sides(member_scores, nonmember_scores)
    if first.size != second.size:
        raise UsageError(f"`nonmember_scores` must be one for each of {first.size} members, got {second.size}.")
    return np.asarray((first > second) + 0.5 * (first == second), dtype=np.float64)


def betting_log_capital(values: FloatArray, mean: float, significance: float) -> FloatArray:
    """Log capital after each item of a gambler against "the mean is at most `mean`"; arguments are not checked.

    Source: Implements the capital process with predictable plug-in bets of Waudby-Smith and Ramdas (2024),
    section 4, truncated at 1/2; METHODS 7.9.
    """
    n = np.arange(1, values.size + 1)
    mu = (0.5 + np.cumsum(values)) / (n + 1)
    variance = (0.25 + np.cumsum((values - mu) ** 2)) / (n + 1)
    known = np.concatenate([[0.25], variance[:-1]])  # before item n: uses the past only
    bet = np.sqrt(2.0 * -math.log(significance) / (known * n * np.log1p(n)))
    if mean > 0.0:
        bet = np.minimum(bet, TRUNCATION / mean)
    return np.asarray(np.cumsum(np.log1p(bet * (values - mean))), dtype=np.float64)


def mixture_log_capital(values: FloatArray, mean: float, significance: float) -> FloatArray:
    """Log capital, after each success or failure, of all rates bet on at once; -inf unless the rate is above `mean`.

    Counting only while successes exceed their expectation makes it valid for every rate up to `mean`: there the
    likelihood of a smaller rate is smaller still. Arguments are not checked.

    Source: Implements the mixture over Beta(1/2, 1/2) of Krichevsky and Trofimov (1981); METHODS 7.9.
    """
    del significance  # all rates at once need no tuning to it
    n = np.arange(1, values.size + 1)
    successes = np.cumsum(values)
    mixed = special.betaln(successes + 0.5, n - successes + 0.5) - special.betaln(0.5, 0.5)
    null = special.xlogy(successes, mean) + special.xlog1py(n - successes, -mean)
    return np.where(successes > mean * n, mixed - null, -np.inf)


def _capital(process: str) -> Capital:
    if process == "betting":
        return betting_log_capital
    if process == "mixture":
        return mixture_log_capital
    raise UsageError(f"`process` must be 'betting' or 'mixture', got {process!r}. Choose one of them.")


def _check_items(values: ArrayLike, process: Process) -> FloatArray:
    items = check_scores("values", values)
    outside = (items < 0.0) | (items > 1.0) if process == "betting" else (items != 0.0) & (items != 1.0)
    if outside.any():
        allowed = "in [0, 1]" if process == "betting" else "0 or 1 for 'mixture'"
        raise UsageError(
            f"`values` must be {allowed}, got {items[np.argmax(outside)]!s} at index {int(np.argmax(outside))}. "
            "Scale them, or use 'betting'."
        )
    return items


def _refuted_up_to(items: FloatArray, *, capital: Capital, significance: float) -> float:
    """The largest mean that the capital refuted at some time; capital falls in the mean."""
    goal = -math.log(significance)
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if capital(items, middle, significance).max() > goal else (low, middle)
    return low


@statistic("sequential_mean")
@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialMeanStatistic(Statistic):
    """The mean of the array "values": outcomes of pairs, whose mean is an AUROC, as records kept them once."""

    confidence: float = 0.95

    def measure(self, arrays: Stored) -> SequentialMean:
        """`sequential_mean` of the outcomes."""
        return sequential_mean(only(arrays, "values"), confidence=self.confidence)

    def needed(self, arrays: Stored, measured: SequentialMean, limit: float) -> str:
        """What would decide where all pairs do not."""
        return "more pairs; or all of these at once, without `sequential`, whose bounds are closer"

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (members, non-members), each of which is in one pair."""
        facts, pairs = auroc_facts(counts, limit, self.confidence, when="at one look "), min(counts)
        if pairs < 2:
            return facts
        test = SequentialTest(limit, confidence=self.confidence)
        test.feed([1.0] * min(pairs, MOST_PAIRS))
        earliest = f"after {test.items} pairs if all are ordered right" if test.decided else "with no FAIL"
        facts["stops"] = (
            f"{earliest} at the earliest, after {pairs} at the latest; where between is undefined before the run, and "
            "all pairs together show less than one look does"
        )
        return facts
