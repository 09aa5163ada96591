"""How is "the landscape is flat" judged at prompts? By the pull of each prompt, and the landscape in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.assertions.plans import Planned, planned_prompts
from pytest_diffprivacy.assertions.prompts import measure_share, plan_prompts, prompt_method
from pytest_diffprivacy.audit import Auditor, Findings, Question
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.memorization import PromptSampling
from pytest_diffprivacy.statistics import Measured, Verdict

AT_PROMPTS: Final = ("hessian_score", "score_difference")
HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "The landscape is no sharper at the prompts than allowed.",
    Verdict.FAIL: "The landscape is needle-sharp at more prompts than allowed.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how sharp the landscape is.",
    Verdict.ERROR: "Sharpness could not be judged.",
}


@dataclass(frozen=True, slots=True)
class Sharp:
    """What counts as sharp: more than a quantile of the reference, or than an absolute value if one is given."""

    quantile: float
    above: float | None

    def said(self, reference: str) -> str:
        """As part of a sentence."""
        return f"the {self.quantile:g} quantile of {reference}" if self.above is None else f"{self.above:g}"


def judge_sharp_prompts(
    judge: Auditor,
    model: object,
    prompts: object,
    statistic: str,
    reference: object | None,
    sharp: Sharp,
    *,
    images_per_prompt: int,
    timestep: int | None,
    limit: float,
    confidence: float,
) -> Claim:
    """The prompted form of `assert_sharpness_below`, whose checked arguments these are.

    Raises:
        UsageError: another statistic, a timestep, or not exactly one of reference and absolute value.
        ModelError: the model takes no texts.
        ProbeError: prompts that cannot be read.
    """
    if statistic not in AT_PROMPTS:
        raise UsageError(f"`statistic` must be one of {', '.join(AT_PROMPTS)} for prompts, got {statistic!r}.")
    if timestep is not None:
        raise UsageError(
            f"`timestep` must be left out for prompts, got {timestep!r}: they are measured where sampling starts."
        )
    if (reference is None) == (sharp.above is None):
        raise UsageError(
            "Prompts must be compared with either `reference` prompts or the absolute value `sharp_above`, got "
            f"{'neither' if reference is None else 'both'}."
        )
    plan = plan_prompts(model, prompts, reference, statistic, None, PromptSampling(images_per_prompt, seed=judge.seed))
    title = plan.asked.title
    sentence = (
        f"Share of prompts where the landscape is sharper than {sharp.said('reference prompts')} is at most "
        f"{limit:.4g} ({title})"
    )
    if judge.planning:
        planned = Planned(
            judge=judge, model=model, kind="sharpness", sentence=sentence, limit=limit, confidence=confidence,
            evaluations=None,
        )  # fmt: skip
        return planned_prompts(planned, plan, reference_quantile=sharp.quantile)
    question = Question(
        kind="sharpness",
        slug=f"sharpness-prompts-{statistic}",
        sentence=sentence,
        limit=limit,
        headlines=HEADLINES,
        model=plan.model.identity,
        probes=None,
        counts=plan.counts,
        confidence=confidence,
        prompts=plan.sides,
        name="sharpness_below",
        terms={} if sharp.above is not None else {"reference_quantile": sharp.quantile},
    )

    def measure(findings: Findings) -> Measured:
        findings.methods = [prompt_method(plan, sharp.said("the reference prompts' sharpness"))]
        return measure_share(
            judge, plan, findings, quantile=sharp.quantile, above=sharp.above, limit=limit, confidence=confidence
        )

    return judge.judge(question, measure)
