"""Binomial bounds: how high may a rate be that was seen k times in n trials? Exact, by Clopper and Pearson.

Trials are independent: generations of one model are, images of one person are not.
"""

from __future__ import annotations

from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import check_count, check_significance


def binomial_lower(successes: int, trials: int, *, confidence: float) -> float:
    """Return a rate that the true rate exceeds, wrong with probability at most 1 - confidence; 0 if nothing happened.

    Args:
        successes: how often it happened, 0 to `trials`.
        trials: number of independent trials, at least 1.
        confidence: of this one bound, in (0.5, 1).

    Raises:
        UsageError: counts or confidence out of range.

    Source: Implements Clopper and Pearson (1934), one-sided; METHODS 7.1.
    """
    significance = check_significance(confidence)
    return lower_bound(*check_counts(successes, trials), significance)


def binomial_upper(successes: int, trials: int, *, confidence: float) -> float:
    """Return a rate that the true rate stays below, wrong with probability at most 1 - confidence.

    It is about 3 / trials if nothing happened (confidence 0.95). Arguments and errors are those of `binomial_lower`.

    Source: Implements Clopper and Pearson (1934), one-sided; METHODS 7.1.
    """
    significance = check_significance(confidence)
    return upper_bound(*check_counts(successes, trials), significance)


def lower_bound(k: int, n: int, significance: float) -> float:
    """Return the `significance` quantile of Beta(k, n-k+1), 0 for k = 0; arguments are not checked.

    Source: Clopper and Pearson (1934); METHODS 7.1, `cp_lower`.
    """
    return 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, significance))


def upper_bound(k: int, n: int, significance: float) -> float:
    """Return the 1 - `significance` quantile of Beta(k+1, n-k), 1 for k = n; arguments are not checked.

    Source: Clopper and Pearson (1934); METHODS 7.1, `cp_upper`.
    """
    return 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 1.0 - significance))


def check_counts(successes: int, trials: int, prefix: str = "") -> tuple[int, int]:
    """Successes and trials, checked; `prefix` is that of their names in messages."""
    n = check_count(f"{prefix}trials", trials, least=1)
    k = check_count(f"{prefix}successes", successes, least=0)
    if k > n:
        raise UsageError(f"`{prefix}successes` must be at most `{prefix}trials` ({n}), got {k}. Count again.")
    return k, n
