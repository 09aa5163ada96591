"""Exact split: how the significance of a TPR's bound is shared between its threshold and its rate.

A threshold at rank k of n0 non-members has its false positive rate on the wrong side of the limit x with a probability
b that is known before any score is seen. Members are judged at the rest, (a - b) / (1 - b): against the least
favourable ROC, a step at x, the error of both together is exactly a. The rank is free, so it is chosen for the numbers
of probes and the claim's limit, which are fixed before scores are seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy import special

from pytest_diffprivacy.statistics.arguments import FloatArray
from pytest_diffprivacy.statistics.ranks import find_ranks

RANKS: Final = 24
"""At most so many ranks are compared, evenly spread between the smallest and the largest that can be useful."""
POWER: Final = 0.8
"""With which the leak is shown that a rank of a lower bound is chosen by."""
DIGITS: Final = 4
"""Chances that agree in so many decimals are equal; of equal ranks the one nearest to the half-half split counts."""
_NODES: Final = (np.arange(64) + 0.5) / 64


@dataclass(frozen=True, slots=True)
class Split:
    """A rank and what is left for the rate.

    Attributes:
        rank: of the non-member that is the threshold, 1 = highest score; None where no rank will do.
        rate: significance at which the rate beyond it is judged.
    """

    rank: int | None
    rate: float


@lru_cache(maxsize=16384)
def lower_split(n0: int, n1: int, x: float, significance: float, limit: float | None) -> Split:
    """The split of a lower bound: the rank that shows the smallest Gaussian leak above the limit with 80 % power.

    Args:
        n0: non-members.
        n1: members.
        x: the false positive rate that may not be exceeded.
        significance: of the bound.
        limit: of the claim; None: unknown, the half-half split's rank or, if it has none, the strictest one.

    Source: Implements METHODS 7.2, exact split.
    """
    half = find_ranks(n0, x, significance / 2.0).low
    most = find_ranks(n0, x, significance).low  # the largest rank with b <= a
    ranks = [k for k in _spread(1, most or 0, half or 1) if _low_error(k, n0, x) < significance]
    if not ranks:
        return Split(None, 0.0)
    rates = [_rest(_low_error(k, n0, x), significance) for k in ranks]
    place = ranks.index(half or 1)
    if limit is not None:
        counts = [find_ranks(n1, limit, rate).high for rate in rates]
        place = _best(_smallest_leak(counts, ranks, (n0, n1), x, max(limit, x)), ranks, half or 1)
    return Split(ranks[place], rates[place])


@lru_cache(maxsize=16384)
def upper_split(n0: int, n1: int, x: float, significance: float, limit: float | None) -> Split:
    """The split of an upper bound: the rank with which a model without any leak passes most often.

    Args:
        n0: non-members.
        n1: members.
        x: the false positive rate that is allowed.
        significance: of the bound.
        limit: of the claim; None: unknown, the half-half split's rank.

    Source: Implements METHODS 7.2, exact split.
    """
    half, least = (find_ranks(n0, x, a).high for a in (significance / 2.0, significance))
    if least is None:
        return Split(None, 0.0)
    last = find_ranks(n0, x, significance / 100.0).high or n0
    half = half or last
    ranks = [k for k in _spread(least, last, half) if _high_error(k, n0, x) < significance]
    if not ranks:
        return Split(None, 0.0)
    half = half if half in ranks else ranks[-1]
    rates = [_rest(_high_error(k, n0, x), significance) for k in ranks]
    place = ranks.index(half)
    if limit is not None:
        counts = [find_ranks(n1, limit, rate).low for rate in rates]
        place = _best(_pass_chances(counts, threshold_rates(ranks, n0), n1), ranks, half)
    return Split(ranks[place], rates[place])


def threshold_rates(ranks: int | list[int], n0: int) -> FloatArray:
    """64 quantiles of the true false positive rate at the rank-th largest of n0 non-members: (ranks, 64), or (64,)."""
    k = np.asarray(ranks, dtype=np.float64)[..., None]
    return np.asarray(special.betaincinv(k, n0 + 1 - k, _NODES), dtype=np.float64)


def lower_p_value(hits: int, n1: int, limit: float, rank: int, n0: int, x: float) -> float:
    """The smallest significance at which a lower bound by this rank lies above the limit.

    Args:
        hits: members strictly above the threshold.
        n1: members.
        limit: of the claim.
        rank: of the threshold among the non-members.
        n0: non-members.
        x: the false positive rate that may not be exceeded.
    """
    if hits == 0:
        return 1.0
    error, rate = _low_error(rank, n0, x), float(special.betainc(hits, n1 - hits + 1, limit))
    return error + (1.0 - error) * rate


def _low_error(rank: int, n0: int, x: float) -> float:
    """Probability that the rate beyond this rank exceeds x: fewer than `rank` of n0 lie beyond the true threshold."""
    return float(special.betainc(n0 + 1 - rank, rank, 1.0 - x))


def _high_error(rank: int, n0: int, x: float) -> float:
    """Probability that the rate at or beyond this rank is below x: at least `rank` of n0 lie beyond the true one."""
    return float(special.betainc(rank, n0 + 1 - rank, x))


def _rest(error: float, significance: float) -> float:
    return (significance - error) / (1.0 - error)


def _spread(first: int, last: int, always: int) -> list[int]:
    """Ranks from first to last, at most `RANKS` of them and one that is always among them."""
    if last < first:
        return []
    evenly = np.linspace(first, last, min(RANKS, last - first + 1)).round().astype(int).tolist()
    return sorted({*evenly, *([always] if first <= always <= last else [])})


def _best(chances: FloatArray, ranks: list[int], half: int) -> int:
    """Place of the largest chance; of equal ones the rank nearest to the half-half split's."""
    rounded = chances.round(DIGITS)
    return min(np.flatnonzero(rounded == rounded.max()).tolist(), key=lambda i: abs(ranks[i] - half))


def _pass_chances(counts: list[int | None], rates: FloatArray, n1: int) -> FloatArray:
    """Chance of a PASS by each rank without a leak; `counts` are ranks of `find_ranks`, one more than may be hit."""
    k = np.array([[count or 0] for count in counts], dtype=np.float64)
    chances = np.where(k > 0, special.betainc(n1 + 1 - k, np.maximum(k, 1), 1.0 - rates), 0.0)
    return np.asarray(chances.mean(axis=1), dtype=np.float64)


def _smallest_leak(
    counts: list[int | None], ranks: list[int], sizes: tuple[int, int], x: float, start: float
) -> FloatArray:
    """Chance of a FAIL by each rank at the smallest Gaussian leak that any of them shows with 80 % power."""
    n0, n1 = sizes
    k = np.array([[count or 0] for count in counts], dtype=np.float64)
    scores = special.ndtri(threshold_rates(ranks, n0))

    def chances(tpr: float) -> FloatArray:
        rates = special.ndtr(scores + (special.ndtri(tpr) - special.ndtri(x)))
        found = np.where(k > 0, special.betainc(np.maximum(k, 1), n1 + 1 - np.maximum(k, 1), rates), 0.0)
        return np.asarray(found.mean(axis=1), dtype=np.float64)

    low, high = start, 1.0 - 1e-9
    if chances(high).max() < POWER:
        return chances(high)
    for _ in range(16):
        middle = (low + high) / 2.0
        low, high = (low, middle) if chances(middle).max() >= POWER else (middle, high)
    return chances(high)
