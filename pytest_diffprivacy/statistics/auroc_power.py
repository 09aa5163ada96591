"""What can an audit of this size show about an AUROC? Asked before the run, with nothing measured yet."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from pytest_diffprivacy.statistics.arguments import check_count, check_fraction, check_significance
from pytest_diffprivacy.statistics.planning import search_size
from pytest_diffprivacy.statistics.power import POWER

LOGITS, STEPS = 8.0, 1601


@dataclass(frozen=True, slots=True)
class AurocPlan:
    """What members and non-members of these numbers can show about an AUROC.

    Attributes:
        pass_chance: chance that a model without any leak passes.
        pass_needs: members, and as many non-members, with which it passes with probability `power`; None: never.
        fail_needs: probes of the smaller side without which no claim can fail.
        smallest: the smallest true AUROC that fails with probability `power`; None: not even 1, a perfect attack, does.
        power: the probability of both.
    """

    pass_chance: float
    pass_needs: int | None
    fail_needs: int
    smallest: float | None
    power: float


def plan_auroc(
    members: int, nonmembers: int, *, limit: float, confidence: float = 0.95, power: float = POWER
) -> AurocPlan:
    """Plan a claim about an AUROC; a leak is that of two normal distributions of equal width.

    Args:
        members: how many there are, at least 2.
        nonmembers: how many there are, at least 2.
        limit: the largest AUROC allowed, in [0.5, 1).
        confidence: of each bound, in (0.5, 1).
        power: probability that a plan asks for, in (0, 1).

    Raises:
        UsageError: an argument is out of range.

    Source: Follows METHODS 7.13 with the bounds of 7.3 (logit scale, Student's quantile) by normal approximation; the
    variance of normal scores is exact.
    """
    n1, n0 = check_count("members", members, least=2), check_count("nonmembers", nonmembers, least=2)
    allowed, goal = check_fraction("limit", limit), check_fraction("power", power)
    significance, bar = check_significance(confidence), float(special.logit(allowed))
    fail_needs = math.floor(math.log(significance) / math.log(allowed)) + 1  # a perfect attack is bounded by a^(1/n)

    def passes(first: int, second: int) -> float:
        return float(special.ndtr(bar / _error(0.5, first, second) - _quantile(first, second, significance)))

    def fails(area: float) -> float:
        gap = float(special.logit(area)) - bar
        return float(special.ndtr(gap / _error(area, n1, n0) - _quantile(n1, n0, significance)))

    return AurocPlan(
        pass_chance=passes(n1, n0),
        pass_needs=None if allowed <= 0.5 else search_size(lambda n: passes(n, n), goal, 2),
        fail_needs=fail_needs,
        smallest=None if min(n1, n0) < fail_needs else _smallest(fails, bar, goal),
        power=goal,
    )


def _smallest(fails: Callable[[float], float], bar: float, goal: float) -> float:
    """The first AUROC that fails with probability `goal`.

    Close to 1 the normal approximation loses its power again, so the first is sought from below; a perfect attack is
    exact, and fails always.
    """
    for logit in np.linspace(bar, bar + LOGITS, STEPS):
        if fails(float(special.expit(logit))) >= goal:
            return float(special.expit(logit))
    return 1.0


def _error(area: float, n1: int, n0: int) -> float:
    """Standard error of the logit of an AUROC of normal scores.

    Source: Variance of the Mann-Whitney statistic (Hanley and McNeil 1982, equation 1); two scores of a side beat one
    of the other with the probability of a bivariate normal distribution of correlation 1/2, by Owen's T.
    """
    z = float(special.ndtri(area))
    both = area - 2.0 * float(special.owens_t(z, 1.0 / math.sqrt(3.0)))
    variance = (area * (1.0 - area) + (n1 + n0 - 2) * (both - area**2)) / (n1 * n0)
    return math.sqrt(variance) / (area * (1.0 - area))


def _quantile(n1: int, n0: int, significance: float) -> float:
    """Student's quantile with the degrees of freedom of two sets of equal spread, by Welch and Satterthwaite."""
    freedom = (1.0 / n1 + 1.0 / n0) ** 2 / (1.0 / (n1**2 * (n1 - 1)) + 1.0 / (n0**2 * (n0 - 1)))
    return -float(special.stdtrit(freedom, significance))
