"""Are more probes flagged by the new release than by the old one? The same probes, two yes-or-no answers each.

Probes with the same answer twice say nothing about a change, however many they are; of those that changed, half
would have changed either way if the releases were alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import check_significance
from pytest_diffprivacy.statistics.binomial import lower_bound, upper_bound


@dataclass(frozen=True, slots=True)
class McNemar:
    """How the share of flagged probes changed from the old release to the new one.

    Attributes:
        value: increase of the share, in [-1, 1].
        low: lower bound of the increase, one-sided at `confidence`.
        high: upper bound of the increase, one-sided at `confidence`.
        old_only: probes flagged in the old release only.
        new_only: probes flagged in the new release only.
        probes: number of probes.
        p_worse: exact p-value against "not more often in the new release".
        p_two_sided: exact p-value against "no change".
    """

    value: float
    low: float
    high: float
    confidence: float
    old_only: int
    new_only: int
    probes: int
    p_worse: float
    p_two_sided: float


def mcnemar(old: ArrayLike, new: ArrayLike, *, confidence: float = 0.95) -> McNemar:
    """Compare two releases on the same probes.

    Args:
        old: bool (n,), whether the old release's threshold flags each probe.
        new: bool (n,), the same for the new release; both thresholds fixed without these probes.
        confidence: of each bound of the increase, in (0.5, 1).

    Returns:
        The increase with exact, conservative bounds (both shares of changed probes bounded at half the significance),
        and the exact p-values. At least 5 changed probes are needed for a p-value below 0.05.

    Raises:
        UsageError: not booleans of one length, or none.

    Source: Implements McNemar (1947), exact, by METHODS 7.7; bounds by Clopper and Pearson (1934) with Bonferroni.
    """
    half = check_significance(confidence) / 2.0
    first, second = _flags("old", old), _flags("new", new)
    if first.size != second.size:
        raise UsageError(f"`new` must have one flag for each of {first.size} probes, got {second.size}.")
    n = first.size
    b, c = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    upper, lower = _tail(c, b), _tail(b, c)
    return McNemar(
        value=(c - b) / n,
        low=lower_bound(c, n, half) - upper_bound(b, n, half),
        high=upper_bound(c, n, half) - lower_bound(b, n, half),
        confidence=float(confidence),
        old_only=b,
        new_only=c,
        probes=n,
        p_worse=upper,
        p_two_sided=min(1.0, 2.0 * min(upper, lower)),
    )


def _tail(more: int, fewer: int) -> float:
    """Chance that a fair coin shows heads `more` times or more in more + fewer throws."""
    return float(special.betainc(more, fewer + 1, 0.5)) if more else 1.0


def _flags(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_ or array.ndim != 1 or array.size == 0:
        raise UsageError(
            f"`{name}` must be a vector of booleans with at least one, got {array.dtype} of shape {array.shape}."
        )
    return array
