"""Ranks: which of n observed values bounds a quantile.

The true rate of values beyond the k-th most extreme of n independent values is Beta(k, n+1-k), whatever their
distribution. So a rank k can be read off before any data are seen: one so strict that the rate is at most a
limit, and one so lax that it is at least the limit, each with a known chance of error. With ties both only
get safer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import as_number, check_count, check_fraction


@dataclass(frozen=True, slots=True)
class Ranks:
    """The two ranks, counted from 1 at the most extreme value; None where no rank of n values will do.

    Attributes:
        low: the rate strictly beyond this rank is at most the limit.
        high: the rate at or beyond this rank is at least the limit.
    """

    low: int | None
    high: int | None


def ranks(nonmembers: int, max_fpr: float, significance: float) -> Ranks:
    """Find the ranks that bound the threshold with false positive rate `max_fpr`.

    Args:
        nonmembers: number of independent non-member scores, at least 1.
        max_fpr: the false positive rate, in (0, 1).
        significance: chance of error of each rank, in (0, 0.5]; half the significance of a bound that is
            split between its threshold and its rate.

    Returns:
        The largest rank whose rate beyond is <= max_fpr and the smallest whose rate at or beyond is >=
        max_fpr, each with probability at least 1 - significance.

    Raises:
        UsageError: an argument out of range.

    Source: Implements METHODS 7.2; order statistics of the uniform distribution.
    """
    n = check_count("nonmembers", nonmembers, least=1)
    return find_ranks(n, check_fraction("max_fpr", max_fpr), _check_half(significance))


@lru_cache(maxsize=16384)
def find_ranks(n: int, x: float, a: float) -> Ranks:
    """Return `ranks` without checks; also for x = 0.

    By the duality of binomial and beta tails, low - 1 is also the largest count of n whose Clopper-Pearson upper bound
    is <= x, and high the smallest count whose lower bound is >= x.

    Source: METHODS 7.2, `k_lo` and `k_hi`.
    """
    # beta.sf(x, k, n+1-k) = beta.cdf(1-x, n+1-k, k) grows with k: bisect for the last k that is small enough.
    inside, outside = 0, n + 1
    while outside - inside > 1:
        k = (inside + outside) // 2
        inside, outside = (k, outside) if special.betainc(n + 1 - k, k, 1.0 - x) <= a else (inside, k)
    low = inside or None
    # beta.cdf(x, k, n+1-k) falls with k: bisect for the first k that is small enough.
    outside, inside = 0, n + 1
    while inside - outside > 1:
        k = (inside + outside) // 2
        inside, outside = (k, outside) if special.betainc(k, n + 1 - k, x) <= a else (inside, k)
    return Ranks(low=low, high=inside if inside <= n else None)


def values_needed(x: float, significance: float) -> int:
    """Return the smallest n with a rank for which the rate beyond it is at most `x`: (1 - x)^n <= significance.

    Source: Implements METHODS 7.2, ln a / ln(1 - x).
    """
    rate, a = check_fraction("x", x), _check_half(significance)
    n = max(1, math.floor(math.log(a) / math.log1p(-rate)))
    while find_ranks(n, rate, a).low is None:
        n += 1
    return n


def _check_half(significance: float) -> float:
    a = as_number("significance", significance)
    if not 0.0 < a <= 0.5:
        raise UsageError(
            f"`significance` must be above 0 and at most 0.5, got {significance!r}. Give the chance of error (0.025)."
        )
    return a
