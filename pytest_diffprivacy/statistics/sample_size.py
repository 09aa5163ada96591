"""Sample sizes: the first one that decides with a given probability, and the smallest leak that one shows.

Plans are no bounds: what was observed, or supposed, is taken for the truth. The chance of a verdict is not monotone in
the size (ranks are whole numbers), so a geometric grid finds the first size that suffices and bisection refines it; a
slightly smaller one may suffice as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from pytest_diffprivacy.statistics.arguments import FloatArray, check_fraction
from pytest_diffprivacy.statistics.ranks import find_ranks
from pytest_diffprivacy.statistics.verdict import Measured

MOST = 10_000_000
"""No plan looks further than this."""
POWER = 0.8
"""Probability with which a plan wants its verdict."""
HINT = 0.9
"""Probability with which the number that an undecided claim asks for decides, if the estimate is the truth."""
BISECTIONS = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """What probes of given numbers can show, before anything is measured.

    Attributes:
        pass_chance: chance that a model without a leak passes.
        pass_needs: probes (of a side) with which it passes with probability `power`; None: never.
        smallest: the smallest leak that fails with probability `power`; None: not even the largest one does.
        power: the probability of both.
        fail_needs: probes without which no claim can fail.
        attacks: how many are judged together; `pass_chance` and `pass_needs` are those of attacks whose scores are
            independent, the least favourable case.
        pass_most: chance that a model without a leak passes where all attacks agree; None: of one attack.
    """

    pass_chance: float
    pass_needs: int | None
    smallest: float | None
    power: float
    fail_needs: int = 1
    attacks: int = 1
    pass_most: float | None = None

    def facts(self, quantity: str, fewest: str, when: str = "") -> dict[str, str]:
        """The plan of two sides in words.

        Args:
            quantity: what is bounded, e.g. "share".
            fewest: what `fail_needs` counts, e.g. "of each".
            when: the probes are judged, if that must be said, e.g. "at one look ".
        """
        enough = f"{self.pass_needs} of each pass with probability {self.power:g}"
        chance, several = f"{self.pass_chance:.2f}", ""
        if self.pass_most is not None:
            chance = f"{self.pass_chance:.2f}, if its {self.attacks} attacks have nothing in common, to "
            chance += f"{self.pass_most:.2f}, if they agree"
            several = " by one of them"
        smallest = (
            "these can show none"
            if self.smallest is None
            else f"the smallest {quantity} that these show {when}with probability {self.power:g}{several} is "
            f"{self.smallest:.3g}"
        )
        return {
            "to pass": f"{when}a model without a leak passes with probability {chance}; "
            + (enough if self.pass_needs else "no number passes"),
            "to fail": f"at least {self.fail_needs} {fewest}; {smallest}",
        }


def search_size(chance: Callable[[int], float], power: float, start: int = 1) -> int | None:
    """Return the first size whose chance of a verdict reaches `power`; None beyond 10 million."""
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


def smallest_shown(chance: Callable[[float], float], start: float, goal: float) -> float | None:
    """The smallest leak above `start`, which is none, whose chance of a FAIL reaches `goal`; None: no leak's does."""
    low, high = start, 1.0 - 1e-9
    if chance(high) < goal:
        return None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if chance(middle) >= goal else (middle, high)
    return high


def verdict_chance(n: int, rates: FloatArray, limit: float, significance: float, *, fails: bool) -> float:
    """Chance, averaged over true rates, that the bound of n trials at this significance passes the limit."""
    ranks = find_ranks(n, limit, significance)
    if fails:
        return float(special.betainc(ranks.high, n + 1 - ranks.high, rates).mean()) if ranks.high else 0.0
    return float(special.betainc(n + 1 - ranks.low, ranks.low, 1.0 - rates).mean()) if ranks.low else 0.0


def clears(measured: Measured, limit: float) -> bool:
    """Whether bounds decide with probability `HINT` where they come out as these in the middle of all samples.

    They decide in every second sample if they touch the limit; the farther quantile of the value takes them as much
    farther apart as the quantiles of `HINT` and of the confidence are together above that of the confidence.
    """
    apart = 1.0 + float(special.ndtri(HINT) / special.ndtri(measured.confidence))
    above = measured.value + (measured.high - measured.value) * apart
    return above <= limit or measured.value - (measured.value - measured.low) * apart > limit


def about(count: int | None) -> str:
    """A planned number in words."""
    return f"about {count or 'more than 10 million'}"


def both_sides(members: int, nonmembers: int) -> str:
    """Probes of a plan in words."""
    return f"{members} members, {nonmembers} non-members, duplicates counted"
