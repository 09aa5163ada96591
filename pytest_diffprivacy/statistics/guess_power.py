"""What could the guesses of a one-run audit refute? Asked before a coin is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from pytest_diffprivacy.statistics.arguments import check_count, check_fraction
from pytest_diffprivacy.statistics.sample_size import POWER


@dataclass(frozen=True, slots=True)
class GuessPlan:
    """What so many guesses can show about a claimed epsilon.

    Attributes:
        most: the bound if every guess is right.
        right: fewest right guesses that refute the claim; None: not even all do.
        smallest: the smallest chance of a right guess with which that many are right with probability `power`; None:
            there is none.
        power: the probability.
    """

    most: float
    right: int | None
    smallest: float | None
    power: float


def plan_guesses(guesses: int, bound: Callable[[int], float], claimed: float, *, power: float = POWER) -> GuessPlan:
    """Plan a claim about epsilon by one run.

    Args:
        guesses: how many, at least 1.
        bound: right guesses -> lower bound of epsilon, which does not fall with them.
        claimed: the epsilon to refute.
        power: probability that a plan asks for, in (0, 1).

    Raises:
        UsageError: an argument is out of range.

    Source: Inverts the bounds of METHODS 7.5; the number of right guesses is taken as binomial.
    """
    count, goal = check_count("guesses", guesses, least=1), check_fraction("power", power)
    most = bound(count)
    if most <= claimed:
        return GuessPlan(most, None, None, goal)
    few, right = 0, count
    while right - few > 1:
        middle = (few + right) // 2
        few, right = (few, middle) if bound(middle) > claimed else (middle, right)
    return GuessPlan(most, right, float(special.betaincinv(right, count - right + 1, goal)), goal)
