"""Two looks at a TPR: a part of the probes first, the rest only if it does not decide.

The significance is split between the looks (Bonferroni), and each look's bounds are those of the TPR at its share, so
that nothing is supposed of how the looks depend on each other. Which part comes first, and whether it is worth a look
at all, follows from the sizes and the limit alone, before anything is scored: where the first part seldom decides, all
probes are judged at one look with the whole significance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import check_count, check_significance
from pytest_diffprivacy.statistics.exact_split import threshold_rates, upper_split
from pytest_diffprivacy.statistics.family import FamilyTprStatistic
from pytest_diffprivacy.statistics.sample_size import verdict_chance
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.tpr import nonmembers_needed
from pytest_diffprivacy.statistics.verdict import Bounded, Measured, Verdict, decide

FIRST_SHARE = 0.4
"""Of the significance, that of the first of two looks."""
PARTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
WORTH = 0.9
"""A first look is taken where it saves a model without a leak a tenth of its probes on average."""


@dataclass(frozen=True, slots=True)
class SidesLook:
    """A look at so many members and non-members, each of whose bounds has this significance."""

    members: int
    nonmembers: int
    significance: float


@dataclass(frozen=True, slots=True)
class TwoLooksTpr(Bounded):
    """A TPR with one-sided bounds that hold at both looks together.

    Attributes:
        value: at the last look.
        low: the highest lower bound of the looks so far.
        high: the lowest upper bound.
        members: how many were judged.
        nonmembers: likewise.
    """

    members: int
    nonmembers: int


@statistic("two_looks_tpr")
@dataclass(frozen=True, slots=True, kw_only=True)
class TwoLooksTprStatistic(Statistic):
    """TPR at FPR <= `max_fpr` of one attack's "members" and "nonmembers", in an order that was drawn before.

    Attributes:
        max_fpr: the false positive rate allowed.
        limit: of the claim, by which looks and bounds are designed.
        members: how many there are.
        nonmembers: likewise.
        part: of `first_part`; 0: one look.
    """

    max_fpr: float
    limit: float
    members: int
    nonmembers: int
    part: float
    confidence: float = 0.95

    @property
    def looks(self) -> tuple[SidesLook, ...]:
        """A part of the probes and all of them, or all of them alone."""
        n1 = check_count("members", int(self.members), least=1)
        n0 = check_count("nonmembers", int(self.nonmembers), least=1)
        significance = check_significance(self.confidence)
        if not self.part:
            return (SidesLook(n1, n0, significance),)
        first, rest = FIRST_SHARE * significance, (1.0 - FIRST_SHARE) * significance
        return SidesLook(math.ceil(self.part * n1), math.ceil(self.part * n0), first), SidesLook(n1, n0, rest)

    def measure(self, arrays: Stored) -> TwoLooksTpr:
        """The bounds at the last look, which is after all scores there are.

        Raises:
            UsageError: there is no look after so many.
            InsufficientProbes: there are too few non-members for this FPR.
        """
        sizes = len(only(arrays, "members")), len(only(arrays, "nonmembers"))
        found = self.trajectory(arrays)
        if not found or (found[-1].members, found[-1].nonmembers) != sizes:
            said = ", ".join(f"{look.members} and {look.nonmembers}" for look in self.looks)
            raise UsageError(
                f"There is no look after {sizes[0]} members and {sizes[1]} non-members. Give what a look has: {said}."
            )
        return found[-1]

    def trajectory(self, arrays: Stored) -> list[TwoLooksTpr]:
        """The bounds at each look so far; a first one at too few non-members shows nothing."""
        members, nonmembers = only(arrays, "members"), only(arrays, "nonmembers")
        low, high, found = 0.0, 1.0, list[TwoLooksTpr]()
        taken = [one for one in self.looks if one.members <= len(members) and one.nonmembers <= len(nonmembers)]
        for look in taken:
            part = {"members": [members[: look.members]], "nonmembers": [nonmembers[: look.nonmembers]]}
            try:
                seen = self._own(look).measure(part)
            except InsufficientProbes:
                if look == taken[-1]:
                    raise
                continue
            low, high = max(low, seen.low), min(high, seen.high)
            found.append(
                TwoLooksTpr(
                    seen.value, min(low, seen.value), max(high, seen.value), self.confidence, look.members,
                    look.nonmembers,
                )
            )  # fmt: skip
        return found

    def decided(self, arrays: Stored) -> bool:
        """Whether one may stop at the last look so far."""
        try:
            return decide(self.measure(arrays), self.limit).verdict in (Verdict.PASS, Verdict.FAIL)
        except InsufficientProbes:
            return False

    def needed(self, arrays: Stored, measured: Measured, limit: float) -> str:
        """What would decide where all probes do not."""
        own = self._own(self.looks[-1])
        found = own.measure(arrays)
        return f"{own.needed(arrays, found, limit)}; one look, without `sequential`, needs somewhat fewer"

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (members, non-members)."""
        facts, looks = self._own(None).plan(counts, limit), self.looks
        first = looks[0]
        if len(looks) == 1:
            return facts | {"stops": "one look: a part of these probes would seldom decide"}
        chance = clean_chance(first, self.max_fpr, limit)
        stops = (
            f"looks after {first.members} members and {first.nonmembers} non-members, and after all; a model without a "
            f"leak passes at the first with probability {chance:.2f}"
        )
        return facts | {"stops": stops}

    def _own(self, look: SidesLook | None) -> FamilyTprStatistic:
        """The bounds of one look."""
        confidence = self.confidence if look is None else 1.0 - look.significance
        return FamilyTprStatistic(max_fpr=self.max_fpr, confidence=confidence, limit=self.limit, attacks=("own",))


def two_looks_tpr(
    members: int, nonmembers: int, *, max_fpr: float, limit: float, confidence: float = 0.95
) -> TwoLooksTprStatistic:
    """The statistic for so many probes and this limit."""
    part = first_part(members, nonmembers, max_fpr, limit, check_significance(confidence))
    return TwoLooksTprStatistic(
        max_fpr=max_fpr, limit=limit, members=members, nonmembers=nonmembers, part=part, confidence=confidence
    )


def first_part(members: int, nonmembers: int, max_fpr: float, limit: float, significance: float) -> float:
    """Which part of the probes to judge first; 0: one look at all of them takes hardly more."""
    first = FIRST_SHARE * significance
    least = nonmembers_needed(max_fpr, 1.0 - first)
    costs = {0.0: WORTH}
    for part in PARTS:
        look = SidesLook(math.ceil(part * members), math.ceil(part * nonmembers), first)
        if look.nonmembers >= least:
            costs[part] = 1.0 - (1.0 - part) * clean_chance(look, max_fpr, limit)
    return min(costs, key=lambda part: costs[part])


def clean_chance(look: SidesLook, max_fpr: float, limit: float) -> float:
    """The chance that a model without a leak passes at this look.

    Source: Implements METHODS 7.13 for the bounds of 7.2 (exact split).
    """
    split = upper_split(look.nonmembers, look.members, max_fpr, look.significance, limit)
    if split.rank is None:
        return 0.0
    rates = threshold_rates(split.rank, look.nonmembers)
    return verdict_chance(look.members, rates, limit, split.rate, fails=False)
