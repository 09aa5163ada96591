"""By how much does the mean of one group lie above that of another? Two tests that can be inverted into bounds.

Both answer for any shift m at once: the p-value of "the difference is at most m" is that of the first group moved
down by m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics.arguments import FloatArray

LEAST = 10
"""Images a side below which neither Welch's approximation nor the permutations are worth a verdict."""

PERMUTATIONS = 9_999
CHUNK = 1_000


class Shift(Protocol):
    """A difference of means with a family of one-sided tests."""

    @property
    def difference(self) -> float:
        """Mean of the first group minus mean of the second."""

    def p_above(self, m: float) -> float:
        """P-value of "the true difference is at most m"; it does not fall as m grows."""

    def lower(self, significance: float) -> float:
        """Lower bound of the difference."""

    def upper(self, significance: float) -> float:
        """Upper bound of the difference."""


@dataclass(frozen=True, slots=True)
class WelchShift:
    """Welch's t-test, one-sided.

    Attributes:
        difference: of the means.
        error: its standard error.
        freedom: Welch and Satterthwaite's degrees of freedom.
    """

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
