"""What can be shown about a share: of members beyond a threshold, or of trials with a property?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics.family import IMAGES, tpr_facts
from pytest_diffprivacy.statistics.rate import Trials, rate_facts


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
    facts = tpr_facts(counts, planned.limit + chance, max_fpr, planned.confidence, names)
    return planned.keep(facts, sum(counts))


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
    words = Trials(
        name=trial, clean=clean, beside=beside, controls=controls, unleaked=unleaked, given=note, undefined=undefined
    )
    return planned.keep(rate_facts(trials, planned.limit, planned.confidence, words), trials)
