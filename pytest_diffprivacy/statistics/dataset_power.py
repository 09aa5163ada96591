"""How many images make a set inferable, if they stand out by so much?"""

from __future__ import annotations

import math

from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import as_number, check_fraction
from pytest_diffprivacy.statistics.mean_shift import LEAST

MOST = 10_000_000


def images_needed(effect: float, *, limit: float = 0.0, significance: float, power: float = 0.8) -> int | None:
    """Return how many test images a side would decide, if the true effect is `effect`.

    Args:
        effect: standardized difference taken for the truth.
        limit: the largest effect allowed, >= 0; 0 asks how many images make a set inferable.
        significance: of the test, in (0, 0.5).
        power: probability with which that many decide, in (0, 1).

    Returns:
        Images for a FAIL if effect > limit, else for a PASS; None beyond 10 million (as when they are equal). For one
        split and a scorer that is no better for more control images; several splits need somewhat more.

    Raises:
        UsageError: an argument is out of range.

    Source: Normal approximation of the two-sample test; ours.
    """
    alpha = check_fraction("significance", significance)
    if alpha >= 0.5:
        raise UsageError(f"`significance` must be below 0.5, got {significance!r}. Give the chance of error (0.01).")
    truth, allowed = as_number("effect", effect), as_number("limit", limit)
    if not (math.isfinite(truth) and 0.0 <= allowed < math.inf):
        raise UsageError(f"`effect` must be finite and `limit` finite and >= 0, got {effect!r} and {limit!r}.")
    gap = truth - allowed if truth > allowed else allowed - abs(truth)
    quantiles = float(special.ndtri(1.0 - alpha) + special.ndtri(check_fraction("power", power)))
    if gap <= 0.0 or 2.0 * (quantiles / gap) ** 2 > MOST:
        return None
    return max(LEAST, math.ceil(2.0 * (quantiles / gap) ** 2))
