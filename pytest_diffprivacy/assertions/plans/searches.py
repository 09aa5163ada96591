"""What can a search of many generations a prompt show?"""

from __future__ import annotations

from dataclasses import replace

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.assertions.plans.shares import planned_rate
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.extraction import PromptSearch
from pytest_diffprivacy.probes import ProbeSet


def planned_search(planned: Planned, probes: ProbeSet | None, search: PromptSearch, *, steps: int) -> Claim:
    """Plan a claim about the share of prompts that bring an image back: a binomial rate.

    Args:
        planned: the claim without its evaluations.
        probes: members with captions, and non-members as the control; None: nothing is known of the training set.
        search: prompts to ask, and how.
        steps: sampling steps.
    """
    step = sum(evaluations_a_step(scale) for scale in search.guidance_scales)
    case = replace(planned, evaluations=search.images * steps * step, unit="a prompt")
    if search.prompts is not None:
        prompts = len(search.prompts)
    else:
        prompts = 0 if probes is None else min(search.most, probes.members.source_prompts)
    if prompts == 0:
        why = "undefined, because no prompts are given and the members have no captions"
        return case.keep({"probes": "no prompts", "to pass": why, "to fail": why}, 0)
    beside = f"{search.images} generations at each of {len(search.guidance_scales)} guidances"
    if probes is not None:
        members, nonmembers = probes.members.source_count, probes.nonmembers.source_count
        beside += f"; {members} members, {nonmembers} non-members, duplicates counted"
    return planned_rate(
        case,
        prompts,
        trial="prompts",
        clean="that bring nothing back",
        beside=beside,
        controls=0 if probes is None else prompts,
    )


def evaluations_a_step(guidance_scale: float | None) -> int:
    """Network evaluations of one sampling step: guidance asks with the prompt and without it; None: a model's own."""
    return 1 if guidance_scale == 1.0 else 2
