"""How high may a rate be that was seen k times in n trials?

Exact (Clopper-Pearson) bounds of one rate, and of the excess of an extraction rate over its control on images
that the model never saw. Trials are independent: generations of one model are, images of one person are not.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import check_count, check_significance


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """A rate with its exact bounds, each one-sided at `confidence`."""

    successes: int
    trials: int
    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class ExcessRate:
    """A rate above the rate of a control, with one-sided bounds at `confidence` (see `excess_rate`)."""

    successes: int
    trials: int
    control_successes: int
    control_trials: int
    value: float
    low: float
    high: float
    confidence: float


def binomial_lower(successes: int, trials: int, *, confidence: float) -> float:
    """Return a rate that the true rate exceeds, wrong with probability at most 1 - confidence.

    Args:
        successes: how often it happened, 0 to `trials`.
        trials: number of independent trials, at least 1.
        confidence: of this one bound, in (0.5, 1).

    Returns:
        A rate in [0, 1]; 0 if nothing happened.

    Raises:
        UsageError: counts or confidence out of range.

    Source: Implements Clopper and Pearson (1934), one-sided; METHODS 7.1.
    """
    significance = check_significance(confidence)
    return lower_bound(*_check_counts(successes, trials), significance)


def binomial_upper(successes: int, trials: int, *, confidence: float) -> float:
    """Return a rate that the true rate stays below, wrong with probability at most 1 - confidence.

    Args:
        successes: how often it happened, 0 to `trials`.
        trials: number of independent trials, at least 1.
        confidence: of this one bound, in (0.5, 1).

    Returns:
        A rate in [0, 1]; about 3 / trials if nothing happened (confidence 0.95).

    Raises:
        UsageError: counts or confidence out of range.

    Source: Implements Clopper and Pearson (1934), one-sided; METHODS 7.1.
    """
    significance = check_significance(confidence)
    return upper_bound(*_check_counts(successes, trials), significance)


def rate(successes: int, trials: int, *, confidence: float = 0.95) -> RateEstimate:
    """Estimate a rate; each bound is one-sided at `confidence` (jointly 90 % at 0.95).

    Args:
        successes: how often it happened, 0 to `trials`.
        trials: number of independent trials, at least 1.
        confidence: of each bound, in (0.5, 1).

    Returns:
        The rate, its bounds and its counts.

    Raises:
        UsageError: counts or confidence out of range.

    Source: Implements Clopper and Pearson (1934); METHODS 7.1.
    """
    significance = check_significance(confidence)
    k, n = _check_counts(successes, trials)
    return RateEstimate(
        successes=k,
        trials=n,
        value=k / n,
        low=lower_bound(k, n, significance),
        high=upper_bound(k, n, significance),
        confidence=float(confidence),
    )


def excess_rate(
    successes: int, trials: int, control_successes: int, control_trials: int, *, confidence: float = 0.95
) -> ExcessRate:
    """Estimate how much of an extraction rate is not explained by false matches.

    The control applies the same matching rule to images the model never saw; every match there is false.
    False matches may not turn into an accusation: the lower bound is the rate's lower bound minus the
    control's upper bound, each at half the significance (Bonferroni). Nor may they buy a pass: the upper
    bound is the plain one of the rate itself, without subtraction, so that a sloppy matching rule makes PASS
    harder and never easier.

    Args:
        successes: matches with training images.
        trials: generations that were compared with training images.
        control_successes: matches with images the model never saw.
        control_trials: generations that were compared with those.
        confidence: of each bound, in (0.5, 1).

    Returns:
        max(0, rate - control rate) with its bounds and all four counts.

    Raises:
        UsageError: counts or confidence out of range.

    Source: METHODS 1.4 and 7.1; the asymmetric bounds are ours.
    """
    significance = check_significance(confidence)
    k, n = _check_counts(successes, trials)
    control_k, control_n = _check_counts(control_successes, control_trials, prefix="control_")
    half = significance / 2.0
    return ExcessRate(
        successes=k,
        trials=n,
        control_successes=control_k,
        control_trials=control_n,
        value=max(0.0, k / n - control_k / control_n),
        low=max(0.0, lower_bound(k, n, half) - upper_bound(control_k, control_n, half)),
        high=upper_bound(k, n, significance),
        confidence=float(confidence),
    )


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


def _check_counts(successes: int, trials: int, prefix: str = "") -> tuple[int, int]:
    n = check_count(f"{prefix}trials", trials, least=1)
    k = check_count(f"{prefix}successes", successes, least=0)
    if k > n:
        raise UsageError(f"`{prefix}successes` must be at most `{prefix}trials` ({n}), got {k}. Count again.")
    return k, n
