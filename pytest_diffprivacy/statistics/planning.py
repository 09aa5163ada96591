"""How many probes would decide?

An INCONCLUSIVE verdict says how much larger the next audit must be. The plans here take what was observed for
the truth and return a size at which the verdict would be reached with probability `power`. They are plans,
not bounds: the observed rate is itself uncertain, and it moves. The chance of a verdict is not monotone in
the size (ranks are whole numbers), so a geometric grid finds the first size that suffices and bisection
refines it; a slightly smaller one may suffice as well. None means that 10 million would not do, as when the
value equals the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, as_number, check_fraction, check_significance
from pytest_diffprivacy.statistics.auroc import Auroc
from pytest_diffprivacy.statistics.binomial import upper_bound
from pytest_diffprivacy.statistics.ranks import find_ranks
from pytest_diffprivacy.statistics.roc import roc_curve
from pytest_diffprivacy.statistics.tpr import tpr_at_fpr
from pytest_diffprivacy.statistics.verdict import Verdict, decide

MOST = 10_000_000
"""No plan looks further than this."""

_NODES = (np.arange(64) + 0.5) / 64


def trials_needed(value: float, limit: float, *, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Return how many trials would decide a rate, if its true value is `value`.

    Args:
        value: the rate taken for the truth, in [0, 1].
        limit: the largest rate allowed, in [0, 1).
        confidence: of each bound, in (0.5, 1).
        power: probability with which that many trials decide, in (0, 1).

    Returns:
        The number of trials, for a PASS if value <= limit, else for a FAIL; None beyond 10 million. The
        chance of the verdict is exact. For value 0 the number does not depend on the power (limit 0.01: 299).

    Raises:
        UsageError: an argument is out of range.

    Source: Implements the power of the Clopper-Pearson bounds of METHODS 7.1.
    """
    significance = check_significance(confidence)
    truth = as_number("value", value)
    if not 0.0 <= truth <= 1.0:
        raise UsageError(f"`value` must be between 0 and 1, got {value!r}. Write 1 % as 0.01.")
    allowed = check_fraction("limit", limit, zero=True)
    rates = np.array([truth])
    return search_size(lambda n: _chance(n, rates, allowed, significance, truth > allowed), power)


def excess_trials_needed(
    value: float, control: float, limit: float, *, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """Return how many trials would decide a rate from whose lower bound that of a control is taken off.

    Args:
        value: the rate taken for the truth, in [0, 1].
        control: the rate of false matches taken for the truth, in [0, 1]; the same number of trials bounds it.
        limit: the largest rate allowed, in [0, 1).
        confidence: of each bound, in (0.5, 1).
        power: probability with which that many trials decide, in (0, 1).

    Returns:
        The number of trials, for a PASS if value <= limit, else for a FAIL; None beyond 10 million, as whenever the
        control explains what is above the limit.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements the power of the bounds of METHODS 1.4, those of `excess_rate`.
    """
    significance = check_significance(confidence)
    truth, false = as_number("value", value), as_number("control", control)
    allowed = check_fraction("limit", limit, zero=True)
    if truth <= allowed:
        return trials_needed(truth, allowed, confidence=confidence, power=power)
    if not 0.0 <= false <= 1.0:
        raise UsageError(f"`control` must be between 0 and 1, got {control!r}. Write 1 % as 0.01.")
    rates, half = np.array([truth]), significance / 2.0

    def chance(n: int) -> float:
        against = allowed + upper_bound(round(false * n), n, half)
        return _chance(n, rates, against, half, True) if against < 1.0 else 0.0

    return search_size(chance, power)


def probes_needed_for_tpr(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    limit: float,
    *,
    max_fpr: float,
    confidence: float = 0.95,
    power: float = 0.8,
) -> int | None:
    """Return how many members, and as many non-members, would decide a TPR at a limited FPR.

    The observed ROC, its vertices joined by straight lines, is taken for the truth.

    Args:
        member_scores: shape (n1,), finite.
        nonmember_scores: shape (n0,), finite.
        limit: the largest TPR allowed, in [0, 1).
        max_fpr: as in `tpr_at_fpr`.
        confidence: of each bound, in (0.5, 1).
        power: probability with which that many decide, in (0, 1).

    Returns:
        Probes a side, for a PASS if the ROC at `max_fpr` is at most the limit, else for a FAIL; None beyond
        10 million. More than the smaller set has now, if the verdict is INCONCLUSIVE now.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: `max_fpr` is below 1 / n0.

    Source: Implements METHODS 7.13 for the bounds of 7.2, the threshold's distribution by 64 quantiles.
    """
    now = tpr_at_fpr(member_scores, nonmember_scores, max_fpr=max_fpr, confidence=confidence)
    allowed = check_fraction("limit", limit, zero=True)
    curve = roc_curve(member_scores, nonmember_scores)
    last = np.append(np.diff(curve.fpr) > 0.0, True)  # the highest TPR of each FPR
    fpr, tpr = curve.fpr[last], curve.tpr[last]
    undecided = decide(now, allowed).verdict is Verdict.INCONCLUSIVE
    start = min(now.members, now.nonmembers) + 1 if undecided else 1

    def chance(n: int) -> float:
        return _tpr_chance(n, lambda f: np.interp(f, fpr, tpr), allowed, now.max_fpr, 1.0 - now.confidence)

    return search_size(chance, power, start)


def tpr_pass_needs(limit: float, max_fpr: float, confidence: float = 0.95, *, power: float = 0.8) -> int | None:
    """Return how many members, and as many non-members, let a model without any leak pass.

    Args:
        limit: the largest TPR allowed, in [0, 1).
        max_fpr: in (0, 1).
        confidence: of the upper bound, in (0.5, 1).
        power: probability of the PASS, in (0, 1).

    Returns:
        Probes a side; None beyond 10 million, as whenever limit <= max_fpr (without a leak TPR = FPR).

    Raises:
        UsageError: an argument is out of range.

    Source: Implements METHODS 7.13, rows "no leak".
    """
    significance = check_significance(confidence)
    x, allowed = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    if allowed <= x:
        return None
    return search_size(lambda n: _tpr_chance(n, lambda f: f, allowed, x, significance), power)


def probes_needed_for_auroc(measured: Auroc, limit: float, *, power: float = 0.8) -> int | None:
    """Return how many members, and as many non-members, would decide an AUROC.

    Args:
        measured: the AUROC taken for the truth; its variance is scaled as if both sets were as large as the
            smaller.
        limit: the largest AUROC allowed, in (0, 1).
        power: probability with which that many decide, in (0, 1).

    Returns:
        Probes a side by the normal approximation on the logit scale; None beyond 10 million. More than the
        smaller set has now, if the verdict is INCONCLUSIVE now.

    Raises:
        UsageError: an argument is out of range.

    Source: Follows METHODS 7.13, with DeLong's variance instead of the one without a leak.
    """
    allowed, chance = check_fraction("limit", limit), check_fraction("power", power)
    significance = check_significance(measured.confidence, measured.interval)
    value, size = measured.value, min(measured.members, measured.nonmembers)
    if value in (0.0, 1.0):  # a^(1/n) beyond the limit, as in `auroc`
        n = math.ceil(math.log(significance) / math.log(allowed if value == 1.0 else 1.0 - allowed))
    else:
        z = float(special.ndtri(chance) - special.ndtri(significance))
        gap = float(special.logit(value) - special.logit(allowed)) * value * (1.0 - value)
        growth = measured.variance * (z / gap) ** 2 if gap else math.inf
        n = math.ceil(min(size * growth, MOST + 1.0))
    least = size + 1 if decide(measured, allowed).verdict is Verdict.INCONCLUSIVE else 2
    return max(n, least) if n <= MOST else None


def _tpr_chance(n: int, roc: Callable[[FloatArray], FloatArray], limit: float, x: float, significance: float) -> float:
    """Chance that n a side decide a TPR when the true ROC is `roc`; the threshold's FPR has a Beta law."""
    a = significance / 2.0
    fails = float(roc(np.array([x]))[0]) > limit
    ranks = find_ranks(n, x, a)
    rank = ranks.low if fails else ranks.high
    if rank is None:
        return 0.0
    fprs = np.asarray(special.betaincinv(rank, n + 1 - rank, _NODES), dtype=np.float64)
    return _chance(n, roc(fprs), limit, a, fails)


def _chance(n: int, rates: FloatArray, limit: float, a: float, fails: bool) -> float:
    """Chance, averaged over true rates, that the bound of n trials at significance `a` passes the limit."""
    ranks = find_ranks(n, limit, a)
    if fails:
        return float(special.betainc(ranks.high, n + 1 - ranks.high, rates).mean()) if ranks.high else 0.0
    return float(special.betainc(n + 1 - ranks.low, ranks.low, 1.0 - rates).mean()) if ranks.low else 0.0


def search_size(chance: Callable[[int], float], power: float, start: int = 1) -> int | None:
    """Return the first size whose chance of a verdict reaches `power`, as the module says; None beyond 10 million."""
    goal = check_fraction("power", power)
    short, n = start - 1, min(start, MOST)
    while chance(n) < goal:
        if n == MOST:
            return None
        short, n = n, min(MOST, max(n + 1, n * 21 // 20))
    while n - short > 1:
        middle = (short + n) // 2
        short, n = (short, middle) if chance(middle) >= goal else (middle, n)
    return n
