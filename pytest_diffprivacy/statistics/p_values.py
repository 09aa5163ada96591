"""P-values: Holm's correction, the combination of dependent ones, inverted bounds, exceedance of a reference.

That all claims hold needs no correction: every one of them must pass (intersection-union). That some claim is
violated does: with twenty claims that hold, one at 5 % each fails in most runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, as_number, check_count, check_fraction, check_scores

BISECTIONS = 20
FALSE_SHARE = 0.1

Combine = Literal["mean", "median"]

COMBINERS: Final[Mapping[str, Callable[[FloatArray], float]]] = {
    "mean": lambda p: float(np.mean(p)),  # Rüschendorf 1982; Vovk and Wang 2020
    "median": lambda p: float(np.median(p)),  # Meinshausen, Meier and Bühlmann 2009, with gamma = 1/2
}


@dataclass(frozen=True, slots=True)
class Holm:
    """A family of tests, corrected together.

    Attributes:
        adjusted: the adjusted p-values, in the order given; at most the significance where refuted.
        refuted: whether each is refuted.
        size: of the family, those without a p-value included.
        significance: chance of one or more false refutations in the family.
    """

    adjusted: tuple[float, ...]
    refuted: tuple[bool, ...]
    size: int
    significance: float


def holm(p_values: Sequence[float], *, significance: float = 0.05, size: int | None = None) -> Holm:
    """Correct p-values for their number; valid under any dependence.

    Args:
        p_values: in [0, 1].
        significance: of the family, in (0, 1).
        size: number of tests in the family as fixed before the run, at least as many as there are p-values; those
            that left none count as never refuted.

    Returns:
        The adjusted p-values and which are refuted.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements Holm (1979); METHODS 7.8.
    """
    alpha = check_fraction("significance", significance)
    p = np.array([as_number("p_values", value) for value in p_values], dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise UsageError(f"`p_values` must be between 0 and 1, got {list(p_values)!r}.")
    m = check_count("size", p.size if size is None else size, least=p.size)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (m - np.arange(p.size))))
    return Holm(tuple(adjusted.tolist()), tuple((adjusted <= alpha).tolist()), m, alpha)


def p_value_from_bounds(lower: Callable[[float], float], limit: float) -> float:
    """Return the smallest significance at which a lower bound lies above the limit: the p-value of the claim.

    Args:
        lower: confidence in (0.5, 1) -> one-sided lower bound, which does not rise with the confidence.
        limit: the largest value allowed.

    Returns:
        The p-value, rounded up by less than 0.01 %, never below 1e-12; 1 if not even the bound at confidence 0.5 lies
        above the limit.

    Source: Inverts the bounds of METHODS 7.
    """
    inside, outside = 0.5 - 1e-12, 1e-12
    if lower(1.0 - inside) <= limit:
        return 1.0
    if lower(1.0 - outside) > limit:
        return outside
    for _ in range(BISECTIONS):
        middle = (inside * outside) ** 0.5
        inside, outside = (middle, outside) if lower(1.0 - middle) > limit else (inside, middle)
    return float(inside)


def combined_p_value(p_values: ArrayLike, *, combine: Combine = "mean") -> float:
    """Combine p-values that depend on each other in any way: twice their mean or median, at most 1; one stays itself.

    Raises:
        UsageError: not p-values, or no such combination.

    Source: Rüschendorf 1982 and Vovk and Wang 2020 (mean); Meinshausen, Meier and Bühlmann 2009 (median).
    """
    p = check_scores("p_values", p_values)
    if p.min() < 0.0 or p.max() > 1.0:
        raise UsageError(f"`p_values` must be in [0, 1], got values in [{p.min():g}, {p.max():g}].")
    if combine not in COMBINERS:
        raise UsageError(f"`combine` must be one of {', '.join(COMBINERS)}, got {combine!r}.")
    return float(p[0]) if p.size == 1 else min(1.0, 2.0 * COMBINERS[combine](p))


def exceedance_p_values(scores: ArrayLike, reference_scores: ArrayLike) -> NDArray[np.float64]:
    """The probability of a score so high for something exchangeable with the reference; **higher = more unusual**.

    `(1 + number of reference scores as high or higher) / (1 + number of reference scores)`: at most x with probability
    at most x, for any distribution of scores.

    Args:
        scores: shape (n,), finite.
        reference_scores: shape (m,), finite.

    Returns:
        float64 (n,), in [1 / (m + 1), 1]; not corrected for the number of scores.

    Raises:
        UsageError: scores that are empty or not finite.

    Source: Implements the conformal p-value of Vovk, Gammerman and Shafer 2005, chapter 2.
    """
    values, reference = check_scores("scores", scores), np.sort(check_scores("reference_scores", reference_scores))
    as_high = reference.size - np.searchsorted(reference, values, side="left")
    return np.asarray((1.0 + as_high) / (1.0 + reference.size), dtype=np.float64)


def benjamini_hochberg(p_values: ArrayLike, *, share: float = FALSE_SHARE) -> NDArray[np.bool_]:
    """Which to list, so that at most a share of the list is expected to be false.

    Args:
        p_values: shape (n,), in [0, 1]; independent, or conformal ones that share a reference.
        share: in (0, 1).

    Raises:
        UsageError: not p-values, or no share.

    Source: Implements Benjamini and Hochberg (1995); valid for conformal p-values by Bates et al. (2023); METHODS 7.8.
    """
    p, allowed = check_scores("p_values", p_values), check_fraction("share", share)
    if p.min() < 0.0 or p.max() > 1.0:
        raise UsageError(f"`p_values` must be in [0, 1], got values in [{p.min():g}, {p.max():g}].")
    kept = np.flatnonzero(np.sort(p) <= allowed * np.arange(1, p.size + 1) / p.size)
    return np.asarray(p <= np.sort(p)[kept[-1]] if kept.size else np.zeros(p.size, dtype=np.bool_))
