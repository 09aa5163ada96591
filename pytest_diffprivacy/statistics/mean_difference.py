"""Mean difference: by how much the mean of one group lies above another's, with bounds on both sides.

Two tests of a shift, Welch's and by permutation, answer for any shift m at once: the p-value of "the difference is at
most m" is that of the first group moved down by m. So both are inverted into bounds. Neither knows of what was not
seen: where few images carry the difference, their bounds fail. Numbers of a known range are bounded by Gaffke's weights
instead, in which one image more lies at the worst end. Before anything was measured the spread is unknown: a plan
speaks in standard deviations of a group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.slices import in_batches
from pytest_diffprivacy.statistics.arguments import (
    FloatArray,
    check_count,
    check_fraction,
    check_scores,
    check_significance,
)
from pytest_diffprivacy.statistics.sample_size import HINT, POWER, both_sides
from pytest_diffprivacy.statistics.statistic import (
    WORDS,
    Statistic,
    Stored,
    only,
    recorded_arguments,
    statistic,
)
from pytest_diffprivacy.statistics.verdict import Bounded

LEAST = 10
"""Images a side below which neither Welch's approximation nor the permutations are worth a verdict."""

PERMUTATIONS = 9_999
CHUNK = 1_000
DRAWS = 4_000
CHUNK_VALUES = 2**21


@dataclass(frozen=True, slots=True)
class MeanDifference(Bounded):
    """Mean of the first group minus mean of the second, with one-sided bounds at `confidence`.

    Attributes:
        first_mean: of `first` images.
        second_mean: of `second` images.
        first: size of the first group.
        second: size of the second group.
    """

    first_mean: float
    second_mean: float
    first: int
    second: int


def mean_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    confidence: float = 0.95,
    least: float = -math.inf,
    most: float = math.inf,
) -> MeanDifference:
    """Compare the means of two groups of unequal variance.

    Args:
        first: (n,) one number an image.
        second: (m,) one number an image.
        confidence: of each bound, in (0.5, 1).
        least: the smallest number that an image may have that was not seen, ...
        most: ... and the largest; widened to what was seen. The bounds then hold for few and skewed numbers. Without
            both they are Welch's, which do not.

    Raises:
        UsageError: not finite numbers, a bad confidence, or a range that is none.
        InsufficientProbes: fewer than 10 images a side.
        AuditError: no number differs from the others of its group: there is nothing to estimate an error from.

    Source: Implements Welch (1947); with a range the bound of Gaffke (2005) for a mean, here for the difference of two;
    METHODS 7.6. No proof of it is known: it is used as far as it was simulated.
    """
    significance = check_significance(confidence)
    a, b = check_scores("first", first), check_scores("second", second)
    if min(a.size, b.size) < LEAST:
        raise InsufficientProbes(
            f"Cannot compare means of {a.size} and {b.size} images: at least {LEAST} a side are needed. Add images.",
            needed=LEAST,
        )
    if float(np.ptp(a)) == 0.0 and float(np.ptp(b)) == 0.0:
        raise AuditError(f"All {a.size} numbers equal {a[0]:g} and all {b.size} others {b[0]:g}: nothing varies.")
    shift = WelchShift.of(a, b)
    if math.isinf(least) and math.isinf(most):
        low, high = shift.lower(significance), shift.upper(significance)
    else:
        low, high = _ranged(a, b, significance, least, most)
    return MeanDifference(
        value=shift.difference,
        low=low,
        high=high,
        confidence=float(confidence),
        first_mean=float(a.mean()),
        second_mean=float(b.mean()),
        first=a.size,
        second=b.size,
    )


def _ranged(a: FloatArray, b: FloatArray, significance: float, least: float, most: float) -> tuple[float, float]:
    if not -math.inf < least <= most < math.inf:
        raise UsageError(f"`least` must be at most `most`, both finite, got {least!r} and {most!r}.")
    least, most = min(least, a.min(), b.min()), max(most, a.max(), b.max())
    stream = np.random.default_rng(0)
    (first, more), (second, other) = (_shares(values, stream) for values in (a, b))
    low = np.quantile(first + more * least - second - other * most, significance, method="inverted_cdf")
    high = np.quantile(first + more * most - second - other * least, 1.0 - significance, method="inverted_cdf")
    return float(low), float(high)


def _shares(values: FloatArray, stream: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    means, unseen = np.empty((2, DRAWS))
    rows = max(1, CHUNK_VALUES // (values.size + 1))
    for part in in_batches(DRAWS, rows):  # all at once they are 4,000 times the numbers
        weights = unit_weights(values.size, stream, draws=part.stop - part.start)
        weights /= weights.sum(axis=1, keepdims=True)
        means[part], unseen[part] = weights[:, :-1] @ values, weights[:, -1]
    return means, unseen


def unit_weights(units: int, stream: np.random.Generator, *, draws: int = DRAWS) -> FloatArray:
    """Random weights of the units and, last, of one that was not seen: (draws, units + 1), each of mean 1.

    Source: Implements the Dirichlet weights of Gaffke (2005), before they are divided by their sum.
    """
    return stream.standard_exponential((draws, units + 1))


@statistic("mean_difference")
@dataclass(frozen=True, slots=True, kw_only=True)
class MeanDifferenceStatistic(Statistic):
    """The difference of the means of the arrays "first" and "second".

    Attributes:
        least: the smallest number possible; without a range, as in records from before there was one: Welch's bounds.
        most: the largest.
        of: what spreads, in the words of a plan.
    """

    confidence: float = 0.95
    least: float = -math.inf
    most: float = math.inf
    of: str = field(default="errors", metadata=WORDS, compare=False)

    def measure(self, arrays: Stored) -> MeanDifference:
        """`mean_difference` of both arrays."""
        return mean_difference(only(arrays, "first"), only(arrays, "second"), **recorded_arguments(self))

    def needed(self, arrays: Stored, measured: MeanDifference, limit: float) -> str:
        """Images a side that would bring the nearer bound, whose distance falls with their root, behind the limit."""
        distance = abs(limit - measured.value)
        if distance == 0.0:
            return "at the observed difference no number of images decides"
        width = measured.high - measured.value if measured.value <= limit else measured.value - measured.low
        width *= 1.0 + float(special.ndtri(HINT) / special.ndtri(measured.confidence))
        factor = max(1.0, (width / distance) ** 2)
        images = math.ceil(factor * max(measured.first, measured.second))
        return f"about {images} members and as many non-members would decide at the observed difference"

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (members, non-members)."""
        first, second = counts
        facts = {"probes": both_sides(first, second)}
        if min(counts) < LEAST:
            return facts | dict.fromkeys(("to pass", "to fail"), f"at least {LEAST} images a side are needed")
        facts["to pass"], facts["to fail"] = self._shown(first, second, limit)
        return facts

    def _shown(self, first: int, second: int, limit: float) -> tuple[str, str]:
        """What lets a model without a leak pass, and what is shown."""
        gap, span = shown_shift(first, second, confidence=self.confidence), max(0.0, self.most - self.least)
        hidden = _hidden(first, second, 1.0 - self.confidence) * (span if math.isfinite(span) else 0.0)
        unseen = f" and {hidden:.3g} RMS, which images that were not seen may hide," if hidden else ""
        to_fail = (
            f"at least {LEAST} images a side; the smallest difference that these show with probability {POWER:g} is "
            f"about the limit{unseen} and {gap:.3g} standard deviations of the {self.of}; in RMS it is undefined until "
            "they are measured"
        )
        if not limit:
            return "no number of images passes: no sample shows that a difference is 0; allow one above 0", to_fail
        if hidden >= limit:
            return (
                f"these pass no model: images that were not seen may hide {hidden:.3g} RMS; about "
                f"{math.ceil(min(first, second) * hidden / limit)} a side are needed, and more the more the {self.of} "
                "spread",
                to_fail,
            )
        spread = _allowed_spread(first, second, 1.0 - self.confidence, limit, span if hidden else 0.0)
        return (
            f"a model without a leak passes with probability {POWER:g} if the {self.of} spread by at most {spread:.3g} "
            "RMS; more spread needs more images",
            to_fail,
        )


def _hidden(first: int, second: int, significance: float) -> float:
    """How far a bound lies from the value where nothing varies: a share of the range, the value being in its middle."""
    return float(np.quantile(_unseen(first, second)[0], 1.0 - significance))


def _unseen(first: int, second: int) -> tuple[FloatArray, FloatArray]:
    """Half the weights of both images that were not seen, and normal numbers: (draws,) each."""
    stream = np.random.default_rng(0)
    weights = stream.beta(1.0, first, DRAWS) + stream.beta(1.0, second, DRAWS)
    return weights / 2.0, stream.standard_normal(DRAWS)


def _allowed_spread(first: int, second: int, significance: float, limit: float, span: float) -> float:
    """The largest standard deviation of a group with which the upper bound is at most the limit, with chance `POWER`.

    Source: Implements METHODS 7.13: the bound's draws as a normal number and what is hidden.
    """
    (weights, normal), error = _unseen(first, second), math.sqrt(1.0 / first + 1.0 / second)
    if not span:
        return limit / shown_shift(first, second, confidence=1.0 - significance)
    low, high = 0.0, limit / error
    for _ in range(40):
        middle = (low + high) / 2.0
        above = float(np.quantile(middle * error * normal + span * weights, 1.0 - significance))
        fits = above + float(special.ndtri(POWER)) * middle * error <= limit
        low, high = (middle, high) if fits else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class WelchShift:
    """Welch's t-test, one-sided, with its standard error and Welch and Satterthwaite's degrees of freedom."""

    difference: float
    error: float
    freedom: float

    @classmethod
    def of(cls, first: FloatArray, second: FloatArray) -> WelchShift:
        """The test of two groups, n >= 2 each, not both constant.

        Source: Implements Welch (1947); p_above(0) is scipy's ttest_ind(..., equal_var=False, alternative="greater").
        """
        # Scaled first: squares of variances leave the range of floats where tiny differences are measured.
        scale = math.sqrt(float(first.var(ddof=1) + second.var(ddof=1)))
        part1 = float((first / scale).var(ddof=1)) / first.size
        part0 = float((second / scale).var(ddof=1)) / second.size
        freedom = (part1 + part0) ** 2 / (part1**2 / (first.size - 1) + part0**2 / (second.size - 1))
        return cls(float(first.mean() - second.mean()), scale * math.sqrt(part1 + part0), freedom)

    def p_above(self, m: float) -> float:
        """P-value of "the true difference is at most m"."""
        return float(special.stdtr(self.freedom, (m - self.difference) / self.error))

    def lower(self, significance: float) -> float:
        """Lower bound of the difference."""
        return self.difference + float(special.stdtrit(self.freedom, significance)) * self.error

    def upper(self, significance: float) -> float:
        """Upper bound of the difference."""
        return self.difference - float(special.stdtrit(self.freedom, significance)) * self.error


@dataclass(frozen=True, slots=True)
class PermutationShift:
    """Permutation test of the difference of means; exact where the groups differ by a shift.

    Moving the first group down by m changes the observed difference by m, and that of a relabelling less, by m c. So
    each relabelling has one m from which on it is at least as extreme as what was observed.

    Attributes:
        difference: of the means.
        turning: float64 (permutations,), these m in increasing order; -inf for a relabelling that changes nothing.
    """

    difference: float
    turning: FloatArray

    @classmethod
    def of(cls, first: FloatArray, second: FloatArray, stream: np.random.Generator) -> PermutationShift:
        """The test of two groups, not both constant, by random relabellings.

        Source: Implements the permutation test of Fisher and Pitman with the add-one p-value of Phipson and Smyth
        (2010), inverted as in METHODS 7.6.
        """
        n1, n0 = first.size, second.size
        values = np.concatenate([first, second])
        observed = float(first.mean() - second.mean())
        parts = []
        for start in range(0, PERMUTATIONS, CHUNK):
            rows = min(CHUNK, PERMUTATIONS - start)
            chosen = stream.permuted(np.broadcast_to(np.arange(n1 + n0), (rows, n1 + n0)), axis=1)[:, :n1]
            picked = values[chosen].sum(axis=1)
            relabelled = picked / n1 - (values.sum() - picked) / n0
            kept = np.count_nonzero(chosen < n1, axis=1)
            lost = 1.0 - (kept / n1 - (n1 - kept) / n0)
            moved = kept < n1
            parts.append(np.divide(observed - relabelled, lost, out=np.full(rows, -np.inf), where=moved))
        return cls(observed, np.sort(np.concatenate(parts)))

    def p_above(self, m: float) -> float:
        """P-value of "the true difference is at most m"."""
        return (1 + int(np.searchsorted(self.turning, m, side="right"))) / (1 + self.turning.size)

    def lower(self, significance: float) -> float:
        """Lower bound of the difference."""
        return self._ranked(significance, self.turning)

    def upper(self, significance: float) -> float:
        """Upper bound of the difference."""
        return -self._ranked(significance, np.sort(np.where(np.isinf(self.turning), -np.inf, -self.turning)))

    def _ranked(self, significance: float, ordered: FloatArray) -> float:
        rank = math.floor(round(significance * (1 + ordered.size), 6))
        if rank < 1 or not math.isfinite(ordered[rank - 1]):
            raise InsufficientProbes(
                f"Cannot bound a difference at significance {significance:g}: too few relabellings differ. Add probes.",
                needed=2 * LEAST,
            )
        return float(ordered[rank - 1])


Shift: TypeAlias = WelchShift | PermutationShift


def shown_shift(first: int, second: int | None = None, *, confidence: float = 0.95, power: float = POWER) -> float:
    """Return the gap to a limit that a one-sided bound of the mean clears with probability `power`.

    Args:
        first: size of the first group, at least 2.
        second: size of the second group, at least 2; None: one group, whose mean is judged.
        confidence: of the bound, in (0.5, 1).
        power: probability, in (0, 1).

    Returns:
        The gap between the true value and the limit, in standard deviations of a group; the same for PASS and FAIL.

    Source: Power of Student's t-test by the noncentral t distribution, which is Welch's for groups of equal spread.
    """
    n1 = check_count("first", first, least=2)
    n0 = None if second is None else check_count("second", second, least=2)
    goal, significance = check_fraction("power", power), check_significance(confidence)
    freedom = n1 - 1 if n0 is None else n1 + n0 - 2
    error = math.sqrt(1.0 / n1 + (0.0 if n0 is None else 1.0 / n0))
    bar = -float(special.stdtrit(freedom, significance))
    low, high = 0.0, 2.0 * bar + 10.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (low, middle) if 1.0 - float(special.nctdtr(freedom, middle, bar)) >= goal else (middle, high)
    return high * error
