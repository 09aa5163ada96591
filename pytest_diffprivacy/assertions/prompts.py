"""How is a claim about prompts measured? Prompts and reference prompts through one detector, compared by its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.coherence import check_order, share_beside
from pytest_diffprivacy.assertions.evidence import histogram_record, method_record, rate_recipe, roc_record, tpr_recipe
from pytest_diffprivacy.assertions.prompt_controls import negative_prompt_control, positive_prompt_control
from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import ControlOutcome, Method
from pytest_diffprivacy.memorization import PromptSampling
from pytest_diffprivacy.memorization.detector import ConfiguredDetector, find_detector
from pytest_diffprivacy.memorization.observation import Arrays
from pytest_diffprivacy.memorization.watch import check_images, joined_units, prompt_units
from pytest_diffprivacy.models.planned import PlannedModel
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted
from pytest_diffprivacy.models.text_to_image import TextToImage
from pytest_diffprivacy.probes import ProbeSet, PromptSet
from pytest_diffprivacy.statistics import Measured, auroc, probes_needed_for_tpr, rate

NAMES = ("audited prompts", "reference prompts")


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """Which prompts are asked for, and what watches them.

    Attributes:
        model: a text-to-image model, or what stands for one while an audit is planned.
        audited: the prompts in question.
        reference: prompts that are known not to be memorized; None: the claim has an absolute threshold.
        asked: the detector with its parameters.
        sampling: how prompts are sampled.
    """

    model: PromptedDenoiser
    audited: PromptSet
    reference: PromptSet | None
    asked: ConfiguredDetector
    sampling: PromptSampling

    @property
    def sides(self) -> tuple[PromptSet, ...]:
        """Audited prompts, then reference prompts."""
        return (self.audited,) if self.reference is None else (self.audited, self.reference)

    @property
    def counts(self) -> str:
        """The sizes behind the estimate."""
        beside = "" if self.reference is None else f", {len(self.reference)} reference prompts"
        return f"{len(self.audited)} prompts{beside}, {self.sampling.images_per_prompt} images each"


def plan_prompts(
    model: object,
    prompts: object,
    reference: object | None,
    detector: str,
    parameters: Mapping[str, Any] | None,
    sampling: PromptSampling,
) -> PromptPlan:
    """What an assertion's arguments ask for.

    Raises:
        UsageError: an unknown detector or parameter, too few images, or a prompt on both sides.
        ModelError: the model takes no texts.
        ProbeError: prompts that cannot be read.
    """
    asked = find_detector(detector)(**dict(parameters or {}))
    asked.cost(sampling.sampling_steps)  # refuses parameters that do not fit before anything runs
    check_images(asked, sampling.images_per_prompt)
    audited = prompts.prompts if isinstance(prompts, ProbeSet) else PromptSet.of(prompts, "prompt")
    others = None if reference is None else PromptSet.of(reference, "reference prompt")
    shared = set() if others is None else set(audited.texts) & set(others.texts)
    if shared:
        names = [name for text, name in zip(audited.texts, audited.ids(), strict=True) if text in shared]
        raise UsageError(
            f"`reference` must hold none of the audited prompts, got {len(shared)} of {len(audited)} "
            f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}). Remove them from one side."
        )
    if isinstance(model, PlannedModel):  # it stands for one while an audit is planned, and nobody asks it
        return PromptPlan(cast("PromptedDenoiser", model), audited, others, asked, sampling)
    denoiser = require_prompted(model, f"The claim about prompts ({asked.title})")
    return PromptPlan(denoiser, audited, others, asked, sampling)


def watch(
    judge: Auditor, plan: PromptPlan, prompts: PromptSet, asked: Mapping[str, ConfiguredDetector], findings: Findings
) -> dict[str, Arrays]:
    """What detectors keep of a prompt set, computed or reused unit by unit."""
    units = prompt_units(prompts, asked, plan.sampling)
    title = f"{' + '.join(asked)}: {prompts.role}s"
    return joined_units(judge.engine.run(plan.model, units, title=title, work=findings.work))


def prompt_scores(
    judge: Auditor, plan: PromptPlan, prompts: PromptSet, findings: Findings
) -> tuple[NDArray[np.float64], Arrays]:
    """The detector's score of every prompt, and what it kept."""
    name = plan.asked.name
    arrays = watch(judge, plan, prompts, {name: plan.asked}, findings)[name]
    return plan.asked.scores(arrays), arrays


def measure_share(
    judge: Auditor,
    plan: PromptPlan,
    findings: Findings,
    *,
    quantile: float,
    above: float | None,
    limit: float,
    confidence: float,
) -> Measured:
    """Share of audited prompts that score above the reference's quantile, or above an absolute value; all is recorded.

    Raises:
        InsufficientProbes: too few reference prompts for the quantile.
        AuditError: the detector does not find planted prompts, or two halves of the reference prompts differ. One that
            cannot be shown planted prompts and ranks the audited ones last may not pass.
    """
    positive_prompt_control(judge, plan.model, plan.asked, plan.sampling, findings)
    scores, arrays = prompt_scores(judge, plan, plan.audited, findings)
    findings.arrays["prompt_scores"] = scores
    findings.notes += _notes(plan, arrays)
    if plan.reference is None:
        assert above is not None, "a claim without reference has an absolute threshold"
        hits = scores > above
        findings.arrays["prompt_above"] = hits.astype(np.uint8)
        findings.recipe = rate_recipe("prompt_above", confidence)
        return rate(int(hits.sum()), len(hits), confidence=confidence)
    reference, _ = prompt_scores(judge, plan, plan.reference, findings)
    findings.arrays["reference_scores"] = reference
    max_fpr = round(1.0 - quantile, 12)
    findings.recipe = tpr_recipe([("prompt_scores", "reference_scores")], max_fpr, confidence)
    title = plan.asked.title
    held = findings.controls[-1].outcome is ControlOutcome.HELD
    check_order(
        findings, scores, reference, title=title, whom="the audited prompts", cure="Judge by another detector",
        controlled=held,
    )  # fmt: skip
    measured = share_beside(scores, reference, max_fpr=max_fpr, confidence=confidence, others="reference prompts")
    if min(len(scores), len(reference)) > 1:
        findings.also_measured.append(estimate("AUROC", auroc(scores, reference, confidence=confidence), plan.counts))
    findings.histograms.append(
        histogram_record("Prompts", f"{title} (higher = memorized)", scores, reference, names=NAMES)
    )
    findings.curves.append(roc_record("ROC of prompts", scores, reference, max_fpr, limit, confidence))

    def needed() -> str:
        decided = probes_needed_for_tpr(scores, reference, limit, max_fpr=max_fpr, confidence=confidence)
        return f"about {decided or 'more than 10 million'} prompts and as many reference prompts would decide"

    findings.needed = needed
    negative_prompt_control(findings, reference, judge.seed)
    return measured


def prompt_method(plan: PromptPlan, threshold: str) -> Method:
    """The detector as a record."""
    detector, sampling = plan.asked.method, plan.sampling
    first = plan.model.schedule.sampling_timesteps(sampling.sampling_steps)[0]
    return method_record(
        name=detector.name,
        title=detector.title,
        access=detector.access_text,
        source=detector.source,
        parameters={
            **plan.asked.parameters,
            "images_per_prompt": sampling.images_per_prompt,
            "sampling_steps": sampling.sampling_steps,
            "guidance_scale": sampling.guidance_scale,
        },
        timesteps=[plan.model.schedule.match(first)],
        evaluations=plan.asked.cost(sampling.sampling_steps),
        threshold=threshold,
        label_use="which prompts are the reference; orientation, timesteps and parameters were fixed before",
    ).model_copy(update={"kind": "memorization"})


def _notes(plan: PromptPlan, arrays: Arrays) -> list[str]:
    """What a reader must know about prompts, sampler and derivative."""
    limit, notes = plan.model.token_limit, []
    for side in plan.sides:
        cut = sum(count > limit for count in plan.model.token_counts(side.texts))
        if cut:
            notes.append(
                f"{cut} of {len(side)} {side.role}s are longer than the {limit} tokens that the text encoder takes; "
                "the rest of them did not reach the model."
            )
    if isinstance(plan.model, TextToImage) and plan.model.sampler != "DDIMScheduler":
        notes.append(
            f"The pipeline's own scheduler is {plan.model.sampler}; detectors walk by deterministic DDIM on its noise "
            "schedule, as the authors' code does."
        )
    if isinstance(plan.model, TextToImage) and plan.model.substitute:
        notes.append(
            f"{plan.model.substitute}: the empty prompt stands in for the unconditional branch, and the network is "
            "told guidance 1 on both."
        )
    if "change" in arrays:
        change, moved = float(arrays["change"].max()), float(arrays["moved_by_half"].max())
        notes.append(
            f"Derivative: central differences with an RMS change of x of {change:g}; half of it moved the norm by at "
            f"most {moved:.2g} of its value."
            if change > 0.0
            else "Derivative: forward-mode differentiation, exact up to rounding."
        )
        if plan.asked.parameters.get("derivative") == "forward" and change > 0.0:
            notes.append("The network has no forward derivative, so central differences stand in for it.")
    return notes
