"""Scores of prompts by a detector that watches a model, beside reference prompts that are known not to be memorized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence.records import Control, ControlOutcome
from pytest_diffprivacy.memorization import PromptSampling
from pytest_diffprivacy.memorization.detector import ConfiguredDetector, find_detector
from pytest_diffprivacy.memorization.observation import Arrays
from pytest_diffprivacy.memorization.watch import check_images, joined_units, prompt_units
from pytest_diffprivacy.models.planted import PlantedPrompts
from pytest_diffprivacy.models.protocols import CrossAttention, PromptedDenoiser, require_prompted
from pytest_diffprivacy.models.text_to_image import TextToImage
from pytest_diffprivacy.probes import ImageSet, ProbeSet, PromptSet
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.controls import control, judged_control, not_applicable, stop
from pytest_diffprivacy.sources.method_records import published_record
from pytest_diffprivacy.sources.prompt_examples import Conspicuous, add_examples
from pytest_diffprivacy.sources.source import Places, Scores, Vector
from pytest_diffprivacy.sources.wiring import wiring_control
from pytest_diffprivacy.statistics import planted_found
from pytest_diffprivacy.statistics.arguments import IntArray
from pytest_diffprivacy.statistics.controls import LEAST_AREA

PLANTED: Final = 10
SMALL: Final = 1_024
"""Numbers in a sample below which four images a prompt are looked at instead of two."""
WALK: Final = 10
"""Steps of a walk to its end, where exact answers arrive at the planted pictures however few there are."""
NO_ATTENTION: Final = (
    "It reads cross-attention, and a model with exact answers has none; its formula is checked against independent "
    "values in the project's tests instead."
)


def prompt_sides(prompts: object, reference: object | None) -> tuple[PromptSet, ...]:
    """Audited prompts and, where there are any, reference prompts.

    Raises:
        UsageError: a prompt stands on both sides.
        ProbeError: prompts that cannot be read.
    """
    audited = prompts.prompts if isinstance(prompts, ProbeSet) else PromptSet.of(prompts, "prompt")
    if reference is None:
        return (audited,)
    others = PromptSet.of(reference, "reference prompt")
    shared = set(audited.texts) & set(others.texts)
    if shared:
        names = [name for text, name in zip(audited.texts, audited.ids(), strict=True) if text in shared]
        raise UsageError(
            f"`reference` must hold none of the audited prompts, got {len(shared)} of {len(audited)} "
            f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}). Remove them from one side."
        )
    return audited, others


def images_beside(prompts: object) -> ImageSet | None:
    """Images of the kind that the model was trained on, where they stand beside the prompts: unseen ones first."""
    if not isinstance(prompts, ProbeSet):
        return None
    return prompts.nonmembers if prompts.has_nonmembers else prompts.members if prompts.has_members else None


@final
class PromptScores:
    """Scores of prompts by a detector, computed or reused unit by unit.

    Args:
        auditor: computes.
        model: a text-to-image model; a stand-in while an audit is planned.
        sides: audited prompts, and reference prompts where there are any.
        detector: name of a detector.
        parameters: of its own that differ from the defaults.
        sampling: how prompts are sampled.
        threshold: from what score on a prompt counts, for the record.
        images: on which the wiring is checked; None: synthetic ones.

    Raises:
        UsageError: an unknown detector or parameter, or too few images.
    """

    unit, split, remedy = "a prompt", None, "Judge by another detector"

    def __init__(
        self,
        auditor: Auditor,
        model: object,
        sides: tuple[PromptSet, ...],
        detector: str,
        parameters: Mapping[str, Any] | None,
        sampling: PromptSampling,
        threshold: str,
        images: ImageSet | None = None,
    ) -> None:
        self._images = images
        self.model, self.sides, self.sampling = model, sides, sampling
        self._auditor, self._threshold = auditor, threshold
        self.asked = find_detector(detector)(**dict(parameters or {}))
        check_images(self.asked, sampling.images_per_prompt)
        self.counts = tuple(map(len, sides))
        self.title = self.label = self.asked.title
        self.slug = self.asked.name
        self._an_image = self.asked.cost(sampling.sampling_steps)
        self.evaluations = sampling.images_per_prompt * self._an_image

    @cached_property
    def denoiser(self) -> PromptedDenoiser:
        """The model.

        Raises:
            ModelError: it takes no texts.
        """
        return require_prompted(self.model, f"The claim about prompts ({self.title})")

    @property
    def subject(self) -> Subject:
        """The model and the prompts."""
        beside = "" if len(self.sides) < 2 else f", {len(self.sides[1])} reference prompts"
        counts = f"{len(self.sides[0])} prompts{beside}, {self.sampling.images_per_prompt} images each"
        texts = [text for side in self.sides for text in side.texts]
        told = asked(self.denoiser, texts, guidance=[self.sampling.guidance_scale])
        return Subject(model=self.denoiser.identity, prompts=self.sides, counts=counts, asked=told)

    @property
    def titles(self) -> Mapping[str, str]:
        """The detector."""
        return {self.slug: self.title}

    @property
    def orders(self) -> tuple[IntArray, ...]:
        """As the prompts stand."""
        return tuple(np.arange(count) for count in self.counts)

    def describe(self, findings: Findings) -> None:
        """Record the detector, and run its positive control."""
        detector, sampling = self.asked.method, self.sampling
        first = self.denoiser.schedule.sampling_timesteps(sampling.sampling_steps)[0]
        findings.methods = [
            published_record(
                detector,
                {
                    **self.asked.parameters,
                    "images_per_prompt": sampling.images_per_prompt,
                    "sampling_steps": sampling.sampling_steps,
                    "guidance_scale": sampling.guidance_scale,
                },
                timesteps=[self.denoiser.schedule.match(first)],
                evaluations=self._an_image,
                threshold=self._threshold,
                label_use="which prompts are the reference; orientation, timesteps and parameters were fixed before",
            )
        ]
        findings.controls.append(planted_prompts(self._auditor, self.denoiser, self.asked, sampling))
        stop(findings, "positive", "so its silence about the audited prompts proves nothing")
        wiring_control(self._auditor, self.denoiser, self._images, findings)

    def scores(self, findings: Findings) -> Scores:
        """The detector's scores of audited and of reference prompts."""
        audited = self.side(findings, 0)
        return {self.slug: (audited, self.side(findings, 1))}

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """Nothing: the claim shows what a reader wants."""

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """The detector's scores of one side, of all its prompts or of some."""
        prompts = self.sides[side] if places is None else self.sides[side].subset(places)
        arrays = self.watch(prompts, {self.slug: self.asked}, findings)[self.slug]
        if side == 0:
            findings.notes += model_notes(self.denoiser, self.sides)
            findings.notes += _derivative_notes(arrays, self.asked.parameters)
        return self.asked.scores(arrays)

    def examples(self, findings: Findings, threshold: float | None) -> None:
        """Generate the most conspicuous prompts, and tell which bring back a whole picture."""
        scores, reference = findings.arrays["prompt_scores"], findings.arrays["reference_scores"]
        seen = Conspicuous.of(self.sides[0], scores, reference, threshold)
        asked = {"tiled_l2": find_detector("tiled_l2")()}
        if isinstance(self.denoiser, CrossAttention):
            asked["bright_ending"] = find_detector("bright_ending")()
        pairs = replace(self.sampling, images_per_prompt=max(2, self.sampling.images_per_prompt))
        arrays = self.watch(self.sides[0].subset(seen.looked_at), asked, findings, pairs)
        add_examples(findings, seen, arrays, self._auditor.images)

    def watch(
        self,
        prompts: PromptSet,
        asked: Mapping[str, ConfiguredDetector],
        findings: Findings,
        sampling: PromptSampling | None = None,
    ) -> dict[str, Arrays]:
        """What detectors keep of some prompts."""
        units = prompt_units(prompts, asked, sampling or self.sampling)
        title = f"{' + '.join(asked)}: {prompts.role}s"
        return joined_units(self._auditor.engine.run(self.denoiser, units, title=title, work=findings.work))


def model_notes(model: PromptedDenoiser, sides: Sequence[PromptSet]) -> list[str]:
    """What a reader must know about the prompts and the sampler of a claim about prompts."""
    limit, notes = model.token_limit, []
    for side in sides:
        cut = sum(count > limit for count in model.token_counts(side.texts))
        if cut:
            notes.append(
                f"{cut} of {len(side)} {side.role}s are longer than the {limit} tokens that the text encoder takes; "
                "the rest of them did not reach the model."
            )
    if isinstance(model, TextToImage) and model.sampler != "DDIMScheduler":
        notes.append(
            f"The pipeline's own scheduler is {model.sampler}; detectors walk by deterministic DDIM on its noise "
            "schedule, as the authors' code does."
        )
    if isinstance(model, TextToImage) and model.substitute:
        notes.append(
            f"{model.substitute}: the empty prompt stands in for the unconditional branch, and the network is told "
            "guidance 1 on both."
        )
    return notes


def _derivative_notes(arrays: Arrays, chosen: Mapping[str, Any]) -> list[str]:
    if "change" not in arrays:
        return []
    change, moved = float(arrays["change"].max()), float(arrays["moved_by_half"].max())
    if change <= 0.0:
        return ["Derivative: forward-mode differentiation, exact up to rounding."]
    notes = [
        f"Derivative: central differences with an RMS change of x of {change:g}; half of it moved the norm by at "
        f"most {moved:.2g} of its value."
    ]
    if chosen.get("derivative") == "forward":
        notes.append("The network has no forward derivative, so central differences stand in for it.")
    return notes


def planted_prompts(
    auditor: Auditor, model: PromptedDenoiser, asked: ConfiguredDetector, sampling: PromptSampling
) -> Control:
    """The positive control of a detector; what the detector saw is stored like that of the claim.

    Args:
        auditor: who computes.
        model: under audit; gives schedule and shapes.
        asked: the claim's detector with its parameters.
        sampling: the claim's; the control starts at the same timesteps, without guidance, which would carry exact
            answers beyond the planted pictures.
    """
    leak, name, title = PlantedPrompts(model, PLANTED), asked.name, asked.title
    done = (
        "The detector, with the same parameters and seed, was shown a model with exact answers on the "
        f"audited model's schedule and shape, {PLANTED} of whose prompts bring back one picture each and {PLANTED} do "
        f"not. It must tell them apart beyond chance, by an AUROC of at least {LEAST_AREA:g}."
    )
    if asked.observation().reads(sampling.sampling_steps):
        return not_applicable("positive", title, done, NO_ATTENTION)
    images = max(4 if np.prod(model.sample_shape) < SMALL else 2, asked.method.least_images)
    steps = sampling.sampling_steps
    if asked.observation().steps(steps) == steps and "steps" not in asked.parameters:
        steps = min(steps, WALK)
    own = PromptSampling(images, steps, guidance_scale=1.0, seed=sampling.seed)
    units = prompt_units(PromptSet([*leak.planted, *leak.others], "planted prompt"), {name: asked}, own)
    try:
        parts = auditor.engine.run(leak, units, title=f"{name}: planted prompts", work=Work())
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
