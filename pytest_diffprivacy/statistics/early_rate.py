"""Early rate: bounds of a small rate that hold at every look, so that one may stop as soon as they decide.

The upper bound bets on rates below the true one, half of the capital on "never": a model that never copies passes after
few generations. The lower bound bets on hits beside a control's false matches. Each is the set of rates that its bet
never refuted (Ville), so that no look costs confidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, IntArray, check_significance
from pytest_diffprivacy.statistics.sequential import mixture_log_capital
from pytest_diffprivacy.statistics.statistic import Stored, only
from pytest_diffprivacy.statistics.verdict import Bounded

SignArray: TypeAlias = NDArray[np.int8]

BETS: Final = np.linspace(0.05, 0.95, 9)
"""Shares of the capital that could be lost on one item; the capital is split evenly among them."""
AT_ZERO: Final = 0.5
BISECTIONS = 64


@dataclass(frozen=True, slots=True)
class EarlyRate(Bounded):
    """The share of hits so far, with bounds that hold at every look at once.

    Attributes:
        value: hits / items.
        low: lower bound, the highest so far; each bound at `confidence`.
        high: upper bound, the lowest so far.
        items: how many.
    """

    items: int


def early_rate(
    hits: ArrayLike,
    differences: ArrayLike,
    *,
    confidence: float = 0.95,
    at_zero: float = AT_ZERO,
) -> EarlyRate:
    """Bound a rate, looked at after any item.

    Args:
        hits: what counts against the limit, bool (items,), in their order.
        differences: of each item, what may be compared with a control minus what the control matches falsely, in {-1,
            0, 1}, (items,); its mean is bounded from below.
        confidence: of each bound, in (0.5, 1).
        at_zero: share of the upper bound's capital that is bet on the rate 0, in (0, 1].

    Returns:
        The bounds at the last item; that of `low` is of the mean of what the control leaves. None excludes the rate
        that was observed.

    Raises:
        UsageError: arrays of two lengths, or empty.

    Source: METHODS 7.9: Ville (1939); the mixtures are ours.
    """
    (found,) = early_rates(hits, differences, (len(np.asarray(hits)),), confidence=confidence, at_zero=at_zero)
    return found


def early_rates(
    hits: ArrayLike,
    differences: ArrayLike,
    looks: ArrayLike,
    *,
    confidence: float = 0.95,
    at_zero: float = AT_ZERO,
    controlled: bool = True,
) -> list[EarlyRate]:
    """`early_rate` of the first items of these numbers, which rise.

    Without a control, `controlled` is False and `differences` are 0 or 1, which allows bets on each rate.

    Raises:
        UsageError: as `early_rate`, or looks that do not rise from 1 to the number of items.
    """
    found = np.asarray(hits, dtype=np.bool_)
    signs = np.asarray(differences, dtype=np.int8)
    ends = np.asarray(looks, dtype=np.int64)
    if found.ndim != 1 or signs.shape != found.shape or found.size == 0:
        raise UsageError(f"`hits` must be a vector, and as long as its control, got {found.shape} and {signs.shape}.")
    if ends.size == 0 or ends[0] < 1 or (np.diff(ends) < 1).any() or ends[-1] > found.size:
        raise UsageError(f"`looks` must rise from 1 to {found.size} at most, got {ends.tolist()}.")
    goal = -math.log(check_significance(confidence))
    low, high, start = 0.0, 1.0, 0
    counts, result = np.cumsum(found, dtype=np.int64), list[EarlyRate]()
    for end in ends.tolist():
        low = _lowest(signs, start, end, goal, controlled=controlled, known=low)
        high = _highest(found, counts, start, end, goal, at_zero, known=high)
        value = float(counts[end - 1]) / end
        result.append(EarlyRate(value, min(low, value), max(high, value), float(confidence), end))
        start = end
    return result


def check_looks(found: Sequence[EarlyRate], arrays: Stored) -> None:
    """Refuse a stored course, "looks_low" and "looks_high", that did not happen.

    Raises:
        UsageError: the bounds differ from those found.
    """
    for name in ("low", "high"):
        if not np.allclose(only(arrays, f"looks_{name}"), [getattr(one, name) for one in found], rtol=1e-9, atol=1e-9):
            raise UsageError(f"The {name} bounds at the looks are not those of the stored distances. Audit again.")


def clean_log_capital(hits: ArrayLike, items: ArrayLike, rate: float, at_zero: float = AT_ZERO) -> FloatArray:
    """Log capital of a gambler who bets that the rate is below `rate`; arguments are not checked.

    It rises with `rate`: the likelihood of each smaller one, u * rate, over that of `rate` itself does. And where the
    true rate is above `rate`, no smaller one's likelihood gains on it: the bet is fair for every rate from `rate` on.

    Source: a mixture of `at_zero` on 0 and the rest uniform on [0, rate]; METHODS 7.9, ours.
    """
    s, n = np.asarray(hits, dtype=np.float64), np.asarray(items, dtype=np.float64)
    with np.errstate(divide="ignore"):
        inside = np.log(special.betainc(s + 1.0, n - s + 1.0, rate)) + special.betaln(s + 1.0, n - s + 1.0)
        spread = inside - math.log(rate) + (math.log1p(-at_zero) if at_zero < 1.0 else -math.inf)
    mixed = np.logaddexp(spread, np.where(s == 0.0, math.log(at_zero), -math.inf))
    return np.asarray(mixed - s * math.log(rate) - (n - s) * math.log1p(-rate), dtype=np.float64)


def excess_log_capital(above: ArrayLike, below: ArrayLike, items: ArrayLike, mean: float) -> FloatArray:
    """Log capital of nine gamblers together against "the mean of items in {-1, 0, 1} is at most `mean`".

    A share of the capital is lost at -1, so that no item ruins; it falls in `mean`. Arguments are not checked.

    Args:
        above: how many items so far are 1, (n,).
        below: how many are -1, (n,).
        items: how many there are, (n,).
        mean: what is bet against.

    Source: METHODS 7.9, after Waudby-Smith and Ramdas (2024), section 4, with bets fixed beforehand; ours.
    """
    up, down, n = (np.asarray(counts, dtype=np.float64) for counts in (above, below, items))
    bets = BETS[:, None] / (1.0 + mean)
    gains = up * np.log1p(bets * (1.0 - mean)) + down * np.log1p(bets * (-1.0 - mean))
    gains = gains + (n - up - down) * np.log1p(-bets * mean)
    return np.asarray(special.logsumexp(gains, axis=0) - math.log(len(BETS)), dtype=np.float64)


def _lowest(items: SignArray, start: int, end: int, goal: float, *, controlled: bool, known: float) -> float:
    """The largest mean that was refuted by one of the items up to `end`, given that up to `start`."""
    rising = start + np.flatnonzero(items[start:end] > 0)  # the capital rises at these items only
    if rising.size == 0:
        return known
    above, below = (np.cumsum(items[:end] == kind)[rising] for kind in (1, -1))

    def refuted(mean: float) -> bool:
        if controlled:
            return bool(excess_log_capital(above, below, rising + 1, mean).max() > goal)
        return bool(mixture_log_capital(items[:end].astype(np.float64), mean, 0.0)[rising].max() > goal)

    low, high = known, 1.0
    if not refuted(float(np.nextafter(known, 1.0))):
        return known
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _highest(
    hits: NDArray[np.bool_], counts: IntArray, start: int, end: int, goal: float, at_zero: float, *, known: float
) -> float:
    """The smallest rate that was refuted by one of the items up to `end`, given that up to `start`."""
    last = np.append(np.flatnonzero(hits[start + 1 : end]) + start, end - 1)  # just before a hit: highest until then
    low, high = 0.0, known
    if clean_log_capital(counts[last], last + 1, np.nextafter(known, 0.0), at_zero).max() <= goal:
        return known
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        refuted = clean_log_capital(counts[last], last + 1, middle, at_zero).max() > goal
        low, high = (low, middle) if refuted else (middle, high)
    return high
