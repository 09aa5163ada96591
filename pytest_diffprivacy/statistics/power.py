"""What can an audit of this size show? Asked before the run, with nothing measured yet.

A plan names the chance that a model without a leak passes, and the smallest leak that these probes would show. Leaks
are those of two normal distributions of equal width, the usual stand-in for an unknown ROC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_count, check_fraction, check_significance
from pytest_diffprivacy.statistics.binomial import upper_bound
from pytest_diffprivacy.statistics.planning import tpr_pass_needs, trials_needed
from pytest_diffprivacy.statistics.ranks import find_ranks
from pytest_diffprivacy.statistics.tpr import nonmembers_needed

POWER = 0.8
BISECTIONS = 50
_NODES = (np.arange(64) + 0.5) / 64


@dataclass(frozen=True, slots=True)
class TprPlan:
    """What members and non-members of these numbers can show about a TPR at a limited FPR.

    Attributes:
        pass_chance: chance that a model without any leak passes.
        pass_needs: members, and as many non-members, with which it passes with probability `power`; None: never.
        fail_needs: non-members without which no claim can fail.
        smallest: the smallest true TPR that fails with probability `power`; None: not even 1 does.
        power: the probability of both.
    """

    pass_chance: float
    pass_needs: int | None
    fail_needs: int
    smallest: float | None
    power: float


@dataclass(frozen=True, slots=True)
class RatePlan:
    """What so many independent trials can show about a rate.

    Attributes:
        pass_chance: chance that a model without a leak passes.
        pass_needs: trials with which it passes with probability `power`; None: never.
        smallest: the smallest true rate that fails with probability `power`; None: not even 1 does.
        power: the probability.
    """

    pass_chance: float
    pass_needs: int | None
    smallest: float | None
    power: float


def plan_tpr(
    members: int, nonmembers: int, *, limit: float, max_fpr: float, confidence: float = 0.95, power: float = POWER
) -> TprPlan:
    """Plan a claim about a TPR at a limited FPR.

    Args:
        members: how many there are.
        nonmembers: how many there are.
        limit: the largest TPR allowed, in [0, 1).
        max_fpr: in (0, 1).
        confidence: of each bound, in (0.5, 1).
        power: probability that a plan asks for, in (0, 1).

    Raises:
        UsageError: an argument is out of range.

    Source: Implements METHODS 7.13 for the bounds of 7.2, the threshold's distribution by 64 quantiles.
    """
    n1, n0 = check_count("members", members, least=1), check_count("nonmembers", nonmembers, least=1)
    x, allowed = check_fraction("max_fpr", max_fpr), check_fraction("limit", limit, zero=True)
    a, goal = check_significance(confidence) / 2.0, check_fraction("power", power)
    ranks, hits = find_ranks(n0, x, a), find_ranks(n1, allowed, a)

    def fails(tpr: float) -> float:
        """Chance of a FAIL: the member count above the strict threshold reaches the rank that bounds the limit."""
        if ranks.low is None or hits.high is None:
            return 0.0
        shift = float(special.ndtri(tpr) - special.ndtri(x))
        rates = special.ndtr(special.ndtri(_thresholds(ranks.low, n0)) + shift)
        return float(special.betainc(hits.high, n1 + 1 - hits.high, rates).mean())

    passes = 0.0
    if ranks.high is not None and hits.low is not None:  # without a leak the members' rate is the threshold's FPR
        kept = 1.0 - _thresholds(ranks.high, n0)
        passes = float(special.betainc(n1 + 1 - hits.low, hits.low, kept).mean())
    return TprPlan(
        pass_chance=passes,
        pass_needs=tpr_pass_needs(allowed, x, confidence, power=goal),
        fail_needs=nonmembers_needed(x, confidence),
        smallest=smallest_shown(fails, max(x, allowed), goal),
        power=goal,
    )


def plan_rate(
    trials: int,
    *,
    limit: float,
    confidence: float = 0.95,
    power: float = POWER,
    unleaked: float = 0.0,
    controls: int = 0,
) -> RatePlan:
    """Plan a claim about a rate, e.g. of copies among generations.

    Args:
        trials: how many.
        limit: the largest rate allowed, in [0, 1).
        confidence: of each bound, in (0.5, 1).
        power: probability that a plan asks for, in (0, 1).
        unleaked: the rate of a model without a leak, at most the limit.
        controls: trials of a control whose rate is taken off before a FAIL, as in `excess_rate`; the plan supposes that
            it has no match. 0: there is none.

    Raises:
        UsageError: an argument is out of range.

    Source: Implements the power of the Clopper-Pearson bounds of METHODS 7.1, those of 1.4 where there is a control.
    """
    n, allowed = check_count("trials", trials, least=1), check_fraction("limit", limit, zero=True)
    goal, significance = check_fraction("power", power), check_significance(confidence)
    clean = check_fraction("unleaked", unleaked, zero=True)
    if clean > allowed:
        raise UsageError(f"`unleaked` must be at most the limit {allowed:g}, got {unleaked!r}. No model would pass.")
    low = find_ranks(n, allowed, significance).low
    against, half = allowed, significance
    if check_count("controls", controls, least=0):
        half = significance / 2.0
        against = min(1.0, allowed + upper_bound(0, controls, half))
    high = find_ranks(n, against, half).high if against < 1.0 else None

    def fails(rate: float) -> float:
        return float(special.betainc(high, n + 1 - high, rate)) if high else 0.0

    return RatePlan(
        pass_chance=float(special.betainc(n + 1 - low, low, 1.0 - clean)) if low else 0.0,
        pass_needs=trials_needed(clean, allowed, confidence=confidence, power=goal),
        smallest=smallest_shown(fails, allowed, goal),
        power=goal,
    )


def _thresholds(rank: int, n: int) -> FloatArray:
    """64 quantiles of the true FPR of the rank-th largest of n non-members."""
    return np.asarray(special.betaincinv(rank, n + 1 - rank, _NODES), dtype=np.float64)


def smallest_shown(chance: Callable[[float], float], start: float, goal: float) -> float | None:
    """The smallest leak above `start` that is shown with probability `goal`; None: not even the largest one is.

    Args:
        chance: of a FAIL by the size of the leak, which it does not fall with.
        start: a leak that is none.
        goal: a probability.
    """
    low, high = start, 1.0 - 1e-9
    if chance(high) < goal:
        return None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if chance(middle) >= goal else (middle, high)
    return high
