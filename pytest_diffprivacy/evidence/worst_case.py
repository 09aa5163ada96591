"""Worst case over all attacks of a run: the members that any of them recognises at an observed FPR of 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_diffprivacy.evidence.records import Claim, Estimate
from pytest_diffprivacy.statistics.rate import rate


@dataclass(frozen=True, slots=True)
class WorstCase:
    """Of one model and one set of probes.

    Attributes:
        model: its name; empty where scores were made elsewhere.
        share: of the members that any attack recognises, with its bounds.
        attacks: titles, each once.
        ids: the members, in order.
        fpr: upper bound of the share of strangers whom any of these thresholds would accuse.
    """

    model: str
    share: Estimate
    attacks: tuple[str, ...]
    ids: tuple[str, ...]
    fpr: float


def worst_cases(claims: Sequence[Claim]) -> list[WorstCase]:
    """One for each model and set of probes that a run attacked.

    Source: Implements METHODS 7.8, worst case over attacks.
    """
    groups: dict[tuple[str, ...], list[Claim]] = {}
    for claim in claims:
        if claim.recognised:
            sizes = {f"{one.members} of {one.nonmembers}" for one in claim.recognised}
            sets = [side.digest for side in claim.probes]
            groups.setdefault((claim.model.digest if claim.model else "", *sets, *sorted(sizes)), []).append(claim)
    return [_of(group) for group in groups.values()]


def _of(claims: Sequence[Claim]) -> WorstCase:
    found = [one for claim in claims for one in claim.recognised]
    attacks = tuple(dict.fromkeys(one.attack for one in found))
    ids = tuple(sorted({name for one in found for name in one.ids}))
    members, others, level = found[0].members, found[0].nonmembers, min(claim.confidence for claim in claims)
    share = rate(len(ids), members, confidence=level)
    # Above the highest of n strangers lies a share of at most 1 - a^(1/n) of all, with confidence 1 - a; for each of k
    # thresholds: attacks of one title may differ in their parameters.
    accused = len(found) * (1.0 - ((1.0 - level) / len(found)) ** (1.0 / others))
    estimate = Estimate(
        name="Members that any attack recognises at an observed FPR of 0", value=share.value, low=share.low,
        high=share.high, confidence=level, counts=f"{members} members, {others} non-members",
    )  # fmt: skip
    return WorstCase(claims[0].model.name if claims[0].model else "", estimate, attacks, ids, min(1.0, accused))
