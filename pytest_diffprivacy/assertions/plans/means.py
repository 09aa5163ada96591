"""What can be shown about a difference of means, whose spread is unknown before anything is measured?"""

from __future__ import annotations

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics.dataset_power import images_needed
from pytest_diffprivacy.statistics.mean_power import shown_shift
from pytest_diffprivacy.statistics.mean_shift import LEAST
from pytest_diffprivacy.statistics.sample_size import POWER


def planned_difference(planned: Planned, counts: tuple[int, int], *, asked: int, paired: bool) -> Claim:
    """Plan a claim about by how much members are restored better than non-members.

    Args:
        planned: the claim; an evaluation count is for one image.
        counts: members and non-members that are restored.
        asked: models that restore each image.
        paired: whether the difference to a reference model is what spreads.
    """
    first, second = counts
    of = "gains over the reference" if paired else "errors"
    facts = {"probes": f"{first} members, {second} non-members, duplicates counted"}
    if min(counts) < LEAST:
        facts["to pass"] = facts["to fail"] = f"at least {LEAST} images a side are needed"
        return planned.keep(facts, asked * (first + second))
    gap = shown_shift(first, second, confidence=planned.confidence)
    facts["to pass"] = (
        f"a model without a leak passes with probability {POWER:g} if the {of} spread by at most "
        f"{planned.limit / gap:.3g} RMS; twice the spread needs four times the images"
        if planned.limit
        else "no number of images passes: no sample shows that a difference is 0; allow one above 0"
    )
    facts["to fail"] = (
        f"at least {LEAST} images a side; the smallest difference that these show with probability {POWER:g} is the "
        f"limit and {gap:.3g} standard deviations of the {of}; in RMS it is undefined until they are measured"
    )
    return planned.keep(facts, asked * (first + second))


def planned_effect(planned: Planned, counts: tuple[int, int], *, splits: int) -> Claim:
    """Plan a claim about how far a set stands out, in standard deviations; half of the images are controls.

    Args:
        planned: the claim.
        counts: members and non-members.
        splits: how many random control/test splits decide together.
    """
    tested = [count - count // 2 for count in counts]
    alpha = round(1.0 - planned.confidence, 12) / (2.0 if splits > 1 else 1.0)  # twice the mean of several p-values
    enough = images_needed(0.0, limit=planned.limit, significance=alpha)
    facts = {
        "probes": f"{counts[0]} members, {counts[1]} non-members, duplicates counted, half of each as controls",
        "to pass": f"about {2 * enough} of each pass with probability {POWER:g} if members do not stand out"
        if enough
        else "no number of images passes: no sample shows that an effect is 0; declare a max_effect above 0",
        "to fail": f"at least {2 * LEAST} of each are needed: these can show none",
    }
    if min(count // 2 for count in counts) >= LEAST:
        gap = shown_shift(*tested, confidence=1.0 - alpha)
        facts["to fail"] = (
            f"at least {2 * LEAST} of each; the smallest effect that these show with probability {POWER:g} is about "
            f"{planned.limit + gap:.3g} standard deviations"
        )
    return planned.keep(facts, sum(counts))
