"""Group-sequential AUROC: all pairs scored so far, judged at a few looks that share one significance.

The looks and what each may spend are fixed before anything is scored, by the number of pairs there is and the number
with which one look would let a model without a leak pass. Each look's bounds are those of the AUROC at the
significance that keeps the chance to be wrong at it or before within what was spent: successive AUROCs are correlated
as sums of independent parts are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.statistics.arguments import FloatArray, check_count, check_fraction, check_significance
from pytest_diffprivacy.statistics.auroc import auroc, auroc_facts, auroc_pass_chance
from pytest_diffprivacy.statistics.sample_size import search_size
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded, Measured, Verdict, decide

PARTS = 5
"""Looks up to the number with which one look would let a model without a leak pass."""
SHARE = 0.8
"""What of the significance is spent until there, if there are more pairs."""
SURE = 0.9
GROWTH, MORE = 1.4, 1.3
SMALLEST = 10
NODES, REACH = 401, 8.0
BISECTIONS = 50


@dataclass(frozen=True, slots=True)
class Look:
    """A look at so many pairs, each of whose bounds has this significance."""

    pairs: int
    significance: float


@dataclass(frozen=True, slots=True)
class GroupSequentialAuroc(Bounded):
    """An AUROC with one-sided bounds that hold at all looks at once.

    Attributes:
        value: the AUROC of the pairs so far.
        low: the highest lower bound of the looks so far.
        high: the lowest upper bound.
        pairs: members so far, and as many non-members.
        planned: the most there may be.
    """

    pairs: int
    planned: int


def looks(pairs: int, base: int, *, confidence: float = 0.95) -> tuple[Look, ...]:
    """When to look, and with which significance.

    Args:
        pairs: members there are, and as many non-members, at least 2.
        base: with which one look would let a model without a leak pass; see `base_pairs`.
        confidence: of each bound over all looks, in (0.5, 1).

    Returns:
        Five looks at equal steps if there are at most 1.3 `base` pairs, the significance spent in proportion; else five
        up to `base`, which spend four fifths of it, and more at 1.4 times as many each up to all pairs.

    Source: Follows Lan and DeMets (1983), with spending that is linear in the pairs; boundaries by the recursive
    integration of Armitage, McPherson and Rowe (1969).
    """
    most, first = check_count("pairs", pairs, least=2), check_count("base", base, least=1)
    return _looks(most, first, check_significance(confidence))


@lru_cache(maxsize=256)
def _looks(pairs: int, base: int, significance: float) -> tuple[Look, ...]:
    near = pairs <= MORE * base
    end = pairs if near else base
    sizes = [math.ceil(end * part / PARTS) for part in range(1, PARTS + 1)]
    while sizes[-1] < pairs:
        after = math.ceil(GROWTH * sizes[-1])
        sizes.append(pairs if after * (1.0 + GROWTH) / 2.0 > pairs else after)
    sizes = [size for size in sizes if size >= SMALLEST] or [pairs]
    share = 1.0 if near else SHARE
    spent = [
        significance * (share * size / end if size <= end else share + (1.0 - share) * (size - end) / (pairs - end))
        for size in sizes
    ]
    levels = special.ndtr(-_boundaries(sizes, spent))
    return tuple(Look(size, float(level)) for size, level in zip(sizes, levels, strict=True))


def _boundaries(sizes: Sequence[int], spent: Sequence[float]) -> FloatArray:
    """Normal quantiles of the looks, at which the chance to be beyond one so far is what may be spent so far.

    The density of the sum over what was not beyond a boundary before is carried from look to look on a grid.
    """
    found: list[float] = []
    grid, mass, before = np.zeros(1), np.ones(1), 0
    for place, (size, total) in enumerate(zip(sizes, spent, strict=True)):
        step, own = math.sqrt(size - before), total - (spent[place - 1] if place else 0.0)
        low, high = 0.0, REACH
        for _ in range(BISECTIONS):
            middle = (low + high) / 2.0
            beyond = float(mass @ special.ndtr((grid - middle * math.sqrt(size)) / step))
            low, high = (middle, high) if beyond > own else (low, middle)
        found.append(high)
        new = np.linspace(-REACH * math.sqrt(size), high * math.sqrt(size), NODES)
        width = np.full(NODES, new[1] - new[0])
        width[[0, -1]] /= 2.0
        density = np.exp(-(((new[:, None] - grid) / step) ** 2) / 2.0) / (step * math.sqrt(2.0 * math.pi))
        grid, mass, before = new, (density @ mass) * width, size
    return np.array(found)


def base_pairs(limit: float, pairs: int, *, confidence: float = 0.95) -> int:
    """With how many pairs one look lets a model without a leak pass with probability 0.9; all, where none do."""
    allowed = check_fraction("limit", limit)
    if allowed <= 0.5:
        return pairs
    found = search_size(lambda n: auroc_pass_chance(n, n, allowed, 1.0 - confidence), SURE, 2)
    return pairs if found is None else found


@statistic("group_sequential_auroc")
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSequentialAurocStatistic(Statistic):
    """The AUROC of "members" and "nonmembers" in the order of scoring; **a higher score means more likely a member**.

    Attributes:
        planned: members there are, and as many non-members.
        base: of `looks`.
    """

    confidence: float = 0.95
    planned: int
    base: int

    @property
    def looks(self) -> tuple[Look, ...]:
        """All that there may be."""
        return looks(int(self.planned), int(self.base), confidence=self.confidence)

    def measure(self, arrays: Stored) -> GroupSequentialAuroc:
        """The bounds at the last look, which is after all scores there are.

        Raises:
            UsageError: there is no look after so many.
            AuditError: all scores are equal.
        """
        found = self.trajectory(arrays)
        last = found[-1] if found else None
        members, nonmembers = only(arrays, "members"), only(arrays, "nonmembers")
        if last is None or last.pairs != len(members) or len(nonmembers) != len(members):
            raise UsageError(
                f"There is no look after {len(members)} members and {len(nonmembers)} non-members: there are after "
                f"{', '.join(str(look.pairs) for look in self.looks)} of each."
            )
        if last.high - last.low == 1.0:
            auroc(members, nonmembers, confidence=self.confidence)  # raises where all scores are equal
        return last

    def trajectory(self, arrays: Stored) -> list[GroupSequentialAuroc]:
        """The bounds at each look so far; one at equal scores shows nothing."""
        members, nonmembers = only(arrays, "members"), only(arrays, "nonmembers")
        low, high, found = 0.0, 1.0, list[GroupSequentialAuroc]()
        for look in self.looks:
            if look.pairs > min(len(members), len(nonmembers)):
                break
            value = 0.5
            try:
                seen = auroc(members[: look.pairs], nonmembers[: look.pairs], confidence=1.0 - look.significance)
            except AuditError:  # equal so far
                pass
            else:
                value, low, high = seen.value, max(low, seen.low), min(high, seen.high)
            found.append(
                GroupSequentialAuroc(
                    value, min(low, value), max(high, value), self.confidence, look.pairs, int(self.planned)
                )
            )
        return found

    def decided(self, arrays: Stored, limit: float) -> bool:
        """Whether one may stop at the last look so far."""
        found = self.trajectory(arrays)
        return bool(found) and decide(found[-1], limit).verdict in (Verdict.PASS, Verdict.FAIL)

    def needed(self, arrays: Stored, measured: Measured, limit: float) -> str:
        """What would decide where all pairs do not."""
        return "more pairs; or all of these at one look, without `sequential`, whose bounds are closer"

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (members, non-members), each of which is in one pair."""
        facts = auroc_facts(counts, limit, self.confidence, when="at one look ")
        if min(counts) < 2:
            return facts
        chances = [auroc_pass_chance(look.pairs, look.pairs, limit, look.significance) for look in self.looks]
        clean = next((look.pairs for look, c in zip(self.looks, chances, strict=True) if c >= 0.5), None)
        sizes = ", ".join(str(look.pairs) for look in self.looks)
        passing = f"a model without a leak passes after {clean} in half of the runs" if clean else "none lets one pass"
        facts["stops"] = f"looks after {sizes} of each, at the first that decides; {passing}"
        return facts


def group_sequential_auroc(limit: float, pairs: int, *, confidence: float = 0.95) -> GroupSequentialAurocStatistic:
    """The statistic for so many pairs and this limit.

    Args:
        limit: the largest AUROC allowed, in (0, 1).
        pairs: members there are, and as many non-members.
        confidence: of each bound over all looks.
    """
    base = base_pairs(limit, pairs, confidence=confidence)
    return GroupSequentialAurocStatistic(confidence=confidence, planned=pairs, base=base)
