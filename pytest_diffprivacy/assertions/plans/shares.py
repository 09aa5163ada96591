"""What can be shown about a share: of members beyond a threshold, or of trials with a property?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics.power import plan_rate, plan_tpr

IMAGES = ("members", "non-members")


def planned_tpr(
    planned: Planned,
    counts: tuple[int, int],
    *,
    max_fpr: float,
    chance: float = 0.0,
    names: tuple[str, str] = IMAGES,
) -> Claim:
    """Plan a claim about the share of members beyond a threshold that non-members set.

    Args:
        planned: the claim.
        counts: members and non-members.
        max_fpr: share of non-members beyond the threshold.
        chance: what is subtracted from the share before it is compared with the limit.
        names: of the two sides.
    """
    first, second = counts
    limit, level = planned.limit + chance, planned.confidence
    found = plan_tpr(first, second, limit=limit, max_fpr=max_fpr, confidence=level)
    enough = (
        f"{found.pass_needs} of each pass with probability {found.power:g}" if found.pass_needs else "no number passes"
    )
    smallest = (
        "these can show none"
        if found.smallest is None
        else f"the smallest share that these show with probability {found.power:g} is {found.smallest:.3g}"
    )
    facts = {
        "probes": f"{first} {names[0]}, {second} {names[1]}" + (", duplicates counted" if names == IMAGES else ""),
        "to pass": f"a model without a leak passes with probability {found.pass_chance:.2f}; {enough}",
        "to fail": f"at least {found.fail_needs} {names[1]}; {smallest}",
    }
    return planned.keep(facts, first + second)


def planned_rate(
    planned: Planned,
    trials: int,
    *,
    trial: str,
    clean: str,
    beside: str = "",
    controls: int = 0,
    unleaked: float = 0.0,
    note: str = "",
    undefined: str = "",
) -> Claim:
    """Plan a claim about the share of trials with a property.

    Args:
        planned: the claim.
        trials: how many.
        trial: their name in the plural, e.g. "generations".
        clean: what those of a model without a leak are, e.g. "without a copy".
        beside: further probes, as words.
        controls: trials of the control; 0: there is none.
        unleaked: the share of a model without a leak.
        note: a condition of the plan.
        undefined: why no number of trials decides with these probes; empty where one may.
    """
    limit, level = planned.limit, planned.confidence
    found = plan_rate(trials, limit=limit, confidence=level, unleaked=unleaked, controls=controls)
    matchless = ", if the control has no false match," if controls else ""
    smallest = (
        f"these {trial} can show none"
        if found.smallest is None
        else f"the smallest rate that these {trial} show with probability {found.power:g}{matchless} is "
        f"{found.smallest:.3g}"
    )
    facts = {
        "probes": f"{trials} {trial}" + (f", {beside}" if beside else ""),
        "to pass": f"{found.pass_needs or 'no number of'} {trial} {clean} are needed; these pass with probability "
        f"{found.pass_chance:.2f}",
        "to fail": smallest,
    }
    if undefined:
        facts |= {"to pass": undefined, "to fail": undefined}
    return planned.keep(facts | ({"given": note} if note else {}), trials)
