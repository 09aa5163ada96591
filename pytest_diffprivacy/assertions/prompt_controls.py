"""Does the detector work, and is the statistic honest? Controls that run beside every claim about prompts.

Positive: the very detector, with the same parameters, is shown a model with planted prompts; it must find them.
Negative: two random halves of the reference prompts must not separate. A control that fails is an ERROR.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.controls import control, judged_control, stop
from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.evidence.records import Control, ControlOutcome
from pytest_diffprivacy.memorization import PromptSampling
from pytest_diffprivacy.memorization.detector import ConfiguredDetector
from pytest_diffprivacy.memorization.watch import joined_units, prompt_units
from pytest_diffprivacy.models.planted import PlantedPrompts
from pytest_diffprivacy.models.protocols import PromptedDenoiser
from pytest_diffprivacy.probes import PromptSet
from pytest_diffprivacy.statistics import halves_agree, planted_found
from pytest_diffprivacy.statistics.controls import LEAST, LEAST_AREA

PLANTED: Final = 10
SMALL: Final = 1_024
"""Numbers in a sample below which four images a prompt are looked at instead of two."""
WALK: Final = 10
"""Steps of a walk to its end, where exact answers arrive at the planted pictures however few there are."""
NO_ATTENTION: Final = (
    "It reads cross-attention, and a model with exact answers has none; its formula is checked against independent "
    "values in the project's tests instead."
)


def positive_prompt_control(
    judge: Auditor, model: PromptedDenoiser, asked: ConfiguredDetector, sampling: PromptSampling, findings: Findings
) -> None:
    """Run the positive control of a detector and record it; what the detector saw is stored like that of the claim.

    Args:
        judge: who judges.
        model: under audit; gives schedule and shapes.
        asked: the claim's detector with its parameters.
        sampling: the claim's; the control starts at the same timesteps, without guidance, which would carry exact
            answers beyond the planted pictures.
        findings: the claim's.

    Raises:
        AuditError: the detector does not find the planted prompts.
    """
    title = asked.title
    done = (
        "The detector, with the same parameters and seed, was shown a model with exact answers on the "
        f"audited model's schedule and shape, {PLANTED} of whose prompts bring back one picture each and {PLANTED} do "
        f"not. It must tell them apart beyond chance, by an AUROC of at least {LEAST_AREA:g}."
    )
    if asked.observation().reads(sampling.sampling_steps):
        findings.controls.append(control("positive", title, done, ControlOutcome.NOT_APPLICABLE, NO_ATTENTION))
        return
    findings.controls.append(_planted(judge, model, asked, sampling, done))
    stop(findings, "positive", "so its silence about the audited prompts proves nothing")


def _planted(
    judge: Auditor, model: PromptedDenoiser, asked: ConfiguredDetector, sampling: PromptSampling, done: str
) -> Control:
    leak, name, title = PlantedPrompts(model, PLANTED), asked.name, asked.title
    images = max(4 if np.prod(model.sample_shape) < SMALL else 2, asked.method.least_images)
    steps = sampling.sampling_steps
    if asked.observation().steps(steps) == steps and "steps" not in asked.parameters:
        steps = min(steps, WALK)
    own = PromptSampling(images, steps, guidance_scale=1.0, seed=sampling.seed)
    units = prompt_units(PromptSet([*leak.planted, *leak.others], "planted prompt"), {name: asked}, own)
    try:
        parts = judge.engine.run(leak, units, title=f"{name}: planted prompts", work=Work())
        scores = asked.scores(joined_units(parts)[name])
    except AuditError as error:
        return control("positive", title, done, ControlOutcome.FAILED, f"It has no scores: {error}")
    if not np.isfinite(scores).all():
        return control("positive", title, done, ControlOutcome.FAILED, "Its scores are not all numbers.")
    result = planted_found(scores[:PLANTED], scores[PLANTED:])
    meaning = (
        "The detector finds memorized prompts that are there."
        if result.held
        else "The detector does not find prompts that are fully memorized: it is blind with these parameters on this "
        "schedule, or broken."
    )
    return judged_control("positive", title, done, result, meaning, f"{PLANTED} planted prompts, {PLANTED} others")


def negative_prompt_control(findings: Findings, reference: NDArray[np.float64], seed: int) -> None:
    """Check that two halves of the reference prompts do not separate, and record it.

    Raises:
        AuditError: they do.
    """
    name = "halves of the reference prompts"
    done = "Two random halves of the reference prompts were told apart by score."
    if len(reference) < 2 * LEAST:
        findings.controls.append(
            Control(
                kind="negative", name=name, done=done, outcome=ControlOutcome.NOT_APPLICABLE,
                meaning=f"A control needs at least {2 * LEAST} reference prompts, there are {len(reference)}.",
            )
        )  # fmt: skip
        return
    result = halves_agree(reference, seed=seed)
    area = None if result.area is None else estimate("AUROC", result.area, f"{len(reference)} reference prompts")
    findings.controls.append(
        Control(
            kind="negative", name=name, done=done,
            outcome=ControlOutcome.HELD if result.held else ControlOutcome.FAILED,
            meaning="Scores do not differ where they must not." if result.held else "Scores differ for no reason.",
            estimate=area,
        )
    )  # fmt: skip
    if not result.held:
        raise AuditError(
            "Two random halves of the reference prompts differ in their scores, so scores do not mean what they "
            "should. Look for a model that answers differently from call to call."
        )
