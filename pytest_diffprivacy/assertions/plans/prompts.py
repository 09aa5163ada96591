"""What can prompts show beside reference prompts, or beside an absolute value?"""

from __future__ import annotations

from dataclasses import replace

from pytest_diffprivacy.assertions.plans.planned import Planned
from pytest_diffprivacy.assertions.plans.shares import planned_rate, planned_tpr
from pytest_diffprivacy.assertions.prompt_tables import table_sides
from pytest_diffprivacy.assertions.prompts import PromptPlan
from pytest_diffprivacy.evidence.records import Claim

NAMES = ("prompts", "reference prompts")


def planned_prompts(planned: Planned, plan: PromptPlan, *, reference_quantile: float) -> Claim:
    """Plan a claim about the share of prompts that score above others: a TPR, whose non-members are the reference.

    Args:
        planned: the claim without its evaluations.
        plan: which prompts are asked for, and what watches them.
        reference_quantile: of the reference prompts' scores.
    """
    each = plan.sampling.images_per_prompt * plan.asked.cost(plan.sampling.sampling_steps)
    case = replace(planned, model=plan.model, evaluations=each, unit="a prompt")
    if plan.reference is None:
        return planned_rate(case, len(plan.audited), trial="prompts", clean="none of which is sharper")
    counts = len(plan.audited), len(plan.reference)
    return planned_tpr(case, counts, max_fpr=round(1.0 - reference_quantile, 12), names=NAMES)


def planned_prompt_table(planned: Planned, prompts: object, reference: object, *, column: str, max_fpr: float) -> Claim:
    """The same for scores that were made elsewhere.

    Args:
        planned: the claim.
        prompts: as in `assert_no_memorized_prompts`.
        reference: as there.
        column: of the table.
        max_fpr: share of the reference prompts beyond their quantile.
    """
    audited, others = table_sides(prompts, reference)
    case = replace(planned, sentence=f"{planned.sentence} ({column}, scores made elsewhere)")
    return planned_tpr(case, (len(audited), len(others)), max_fpr=max_fpr, names=NAMES)
