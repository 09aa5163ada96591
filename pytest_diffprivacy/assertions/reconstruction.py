"""The claim "hidden parts do not come back": members are restored hardly better than images the model never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import histogram_record, method_record
from pytest_diffprivacy.assertions.plans import Planned, planned_difference
from pytest_diffprivacy.assertions.plans import sides as planned_sides
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor, estimate
from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Claim, Control, ControlOutcome, Recipe, Strip
from pytest_diffprivacy.extraction.reconstruction import (
    COLUMNS,
    VERSION,
    fill_errors,
    reconstruct,
    reconstruction_errors,
)
from pytest_diffprivacy.models.protocols import Denoiser, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.restoration import FILLS, Degradation, Restoration
from pytest_diffprivacy.statistics import MeanDifference, Verdict, auroc, mean_difference
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction

HEADLINES: Mapping[Verdict, str] = {
    Verdict.PASS: "Hidden parts of training images are restored no better than allowed.",
    Verdict.FAIL: "The model restores hidden parts of its training images better than those of other images.",
    Verdict.INCONCLUSIVE: "These probes do not decide whether hidden parts of training images come back.",
    Verdict.ERROR: "Reconstruction could not be judged.",
}
STRIPS_A_SIDE = 5
MEANINGS = {
    "oracle": "Smallest error of all tries (upper bound, needs the answer): members lower by",
    "single": "Mean error of all tries: members lower by",
}


def assert_no_reconstruction(
    model: object,
    probes: ProbeSet,
    *,
    mask: str | Degradation = "left",
    limit: float,
    images: int = 100,
    draws: int = 100,
    keep: int = 10,
    restoration: Restoration = "ddim",
    steps: int = 50,
    loss_draws: int = 20,
    timestep: int | None = None,
    reference: object | None = None,
    confidence: float | None = None,
    auditor: Auditor | None = None,
) -> Claim:
    """Assert that the model restores hidden parts of members better than those of non-members by at most `limit`.

    Each image is restored `draws` times; the attacker keeps the `keep` restorations that the model's own loss likes
    best, and their mean RMS error on hidden pixels is the image's error. Judged is the non-members' mean error minus
    the members': PASS iff its upper bound is at most the limit, FAIL iff its lower bound is above it.

    With a `reference`, a model that was trained on neither side, the difference is paired image by image: judged is by
    how much more the audited model beats it on members than on non-members, which takes the images' own difficulty out.

    Args:
        model: grey-box access.
        probes: the ProbeSet.
        mask: what is hidden: "left", "right", "top", "bottom", "random:0.3", "region:LEFT,TOP,RIGHT,BOTTOM". Masks from
            an array or a function have no digest to store results by: give them to extraction.reconstruction_errors.
        limit: allowed difference of the mean errors, RMS on [0, 1].
        images: how many of each side are restored, chosen by the seed; all where there are fewer.
        draws: restorations an image, the same number for members and non-members. The paper used thousands.
        keep: how many of them are averaged.
        restoration: "ddim", "ddnm" or "repaint".
        steps: sampling steps of one restoration.
        loss_draws: noise draws of the loss that chooses.
        timestep: of that loss; None: t = 100, matched by signal-to-noise ratio; an int is the model's own.
        reference: grey-box access to a model of the same images that saw neither members nor non-members.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are fewer than 10 images a side.
        UsageError: a bad argument, or a split with shared images.
        AuditError: the model returns NaN.

    Source: Follows Carlini et al. 2023, section 5.4 (inpainting), except that the attacker chooses by the model's loss
    and non-members are the control (METHODS 2.2).
    """
    judge = auditor or current_auditor()
    level = judge.confidence(confidence)
    allowed, count = check_fraction("limit", limit, zero=True), check_count("images", images, least=1)
    if not isinstance(probes, ProbeSet):
        raise UsageError(
            f"`probes` must be a ProbeSet, got {type(probes).__name__}. Pass ProbeSet(members, nonmembers)."
        )
    draws, steps = check_count("draws", draws, least=1), check_count("steps", steps, least=1)
    name = mask if isinstance(mask, str) else mask.name
    sentence = (
        f"Hidden parts ({name}) of members are restored better than those of non-members by at most {allowed:.4g} RMS"
        + ("" if reference is None else ", compared with a reference model")
    )
    evaluations = draws * (steps * (10 if restoration == "repaint" else 1) + loss_draws)
    if judge.planning:
        planned = Planned(
            judge=judge, model=model, kind="extraction", sentence=sentence, limit=allowed, confidence=level,
            evaluations=evaluations,
        )  # fmt: skip
        first, second = (min(count, side) for side in planned_sides(probes))
        asked = 1 if reference is None else 2
        return planned_difference(planned, (first, second), asked=asked, paired=reference is not None)
    denoiser = require_denoiser(model, "Reconstruction")
    other = None if reference is None else require_denoiser(reference, "The reference of a reconstruction")
    if other is not None and other.identity.digest == denoiser.identity.digest:
        raise UsageError("`reference` must be another model than the audited one, got the same weights.")
    gate = judged_split(judge, probes)
    probes = gate.probes
    sides = tuple(_chosen(side, count, judge.seed, stream) for stream, side in enumerate(_sides(probes), start=5))
    parameters: dict[str, Any] = {
        "mask": mask,
        "draws": draws,
        "keep": keep,
        "restoration": restoration,
        "steps": steps,
        "loss_draws": loss_draws,
        "timestep": ReferenceTimestep(100) if timestep is None else timestep,
    }
    task = ScoreTask(
        "reconstruction", VERSION, reconstruction_errors, {**parameters, "seed": judge.seed}, shape=(len(COLUMNS),)
    )
    method = method_record(
        name="reconstruction",
        title="Inpainting, chosen by the model's own loss",
        access="grey box",
        source="Carlini et al. 2023, section 5.4; honest choice and control of METHODS 2.2",
        parameters={**parameters, "mask": name, "reference": "none" if other is None else other.identity.name},
        timesteps=[denoiser.schedule.match(parameters["timestep"])],
        evaluations=evaluations,
        threshold="none; mean errors on hidden pixels are compared",
    )
    question = Question(
        kind="extraction",
        slug="reconstruction",
        sentence=sentence,
        limit=allowed,
        headlines=HEADLINES,
        model=denoiser.identity,
        probes=probes,
        counts=f"{len(sides[0])} members, {len(sides[1])} non-members, {draws} restorations each",
        confidence=level,
        name="no_reconstruction",
    )

    def measure(findings: Findings) -> MeanDifference:
        findings.methods = [method]
        findings.sides = [side.digests for side in sides]
        gate.note(findings, decides=other is None)
        errors = [judge.scores(denoiser, side, task, findings.ledger) for side in sides]
        beaten = None if other is None else [judge.scores(other, side, task, findings.ledger) for side in sides]
        measured = _compared(findings, errors, beaten, level)
        _baseline(findings, denoiser, sides, mask, judge.seed, level)
        findings.needed = lambda: _needed(measured, allowed)
        if judge.images != "none":
            findings.strips_title = "What the model restores, chosen by its own loss"
            shown = {key: value for key, value in parameters.items() if key != "keep"}
            findings.strips += [s for side in sides for s in _strips(denoiser, side, shown, judge)]
        return measured

    return judge.judge(question, measure)


def _sides(probes: ProbeSet) -> tuple[ImageSet, ImageSet]:
    return probes.members, probes.nonmembers


def _chosen(side: ImageSet, count: int, seed: int, stream: int) -> ImageSet:
    """`count` of the images, in order; all where there are no more."""
    if len(side) <= count:
        return side
    return side.subset(sorted(np.random.default_rng([seed, stream]).permutation(len(side))[:count].tolist()))


def _compared(
    findings: Findings,
    errors: list[NDArray[np.float64]],
    reference: list[NDArray[np.float64]] | None,
    confidence: float,
) -> MeanDifference:
    """The judged difference; everything else that a reader wants goes into the findings."""
    honest = [side[:, 0] for side in errors]
    gains = [-side for side in honest]
    names = ("member", "nonmember")
    findings.arrays |= {f"{name}_errors": side for name, side in zip(names, errors, strict=True)}
    counts = f"{len(honest[0])} members, {len(honest[1])} non-members"
    if reference is not None:
        gains = [theirs[:, 0] - ours for theirs, ours in zip(reference, honest, strict=True)]
        findings.arrays |= {f"reference_{name}_errors": side for name, side in zip(names, reference, strict=True)}
        plain = mean_difference(-honest[0], -honest[1], confidence=confidence)
        findings.also_measured.append(estimate("Error without the reference: members lower by", plain, counts))
    findings.arrays |= {f"{name}_gains": side for name, side in zip(names, gains, strict=True)}
    findings.recipe = Recipe(
        statistic="mean_difference",
        arrays={"first": ("member_gains",), "second": ("nonmember_gains",)},
        arguments={"confidence": confidence},
    )
    area = auroc(-honest[0], -honest[1], confidence=confidence)
    findings.also_measured.append(estimate("AUROC of minus the error", area, counts))
    for column, name in enumerate(COLUMNS[1:], start=1):
        difference = mean_difference(-errors[0][:, column], -errors[1][:, column], confidence=confidence)
        findings.also_measured.append(estimate(MEANINGS[name], difference, counts))
    findings.histograms.append(histogram_record("Error on hidden pixels", "RMS (lower = restored better)", *honest))
    measured = mean_difference(*gains, confidence=confidence)
    findings.notes.append(
        f"Mean error on hidden pixels: members {honest[0].mean():.4f}, non-members {honest[1].mean():.4f}. The "
        "smallest error of all tries needs the original, which no attacker holds, and falls with their number for "
        "unseen images as well: it is an upper bound and no attack."
    )
    return measured


def _baseline(
    findings: Findings,
    model: Denoiser,
    sides: tuple[ImageSet, ...],
    mask: str | Degradation,
    seed: int,
    confidence: float,
) -> None:
    """The same hidden parts restored without the model."""
    found = []
    for side in sides:
        parts = [
            fill_errors(torch.from_numpy(batch), mask=mask, seed=seed, prompts=side.prompts(part), model=model)
            for part, batch in side.batches(BATCH_SIZE)
        ]
        found.append(np.concatenate(parts))
    column = FILLS.index("harmonic")
    # Both bounds speak here, so each has half of the significance.
    two_sided = 1.0 - (1.0 - confidence) / 2.0
    counts = f"{len(found[0])} members, {len(found[1])} non-members"
    difference = mean_difference(-found[0][:, column], -found[1][:, column], confidence=two_sided)
    separates = difference.low > 0.0 or difference.high < 0.0
    findings.controls.append(
        Control(
            kind="split",
            name="Restoration without the model",
            done="The same hidden parts were filled with the smoothest surface through what is left.",
            outcome=ControlOutcome.FAILED if separates else ControlOutcome.HELD,
            meaning="Members and non-members differ without the model: the claim's difference counts only as far as it "
            "exceeds this one."
            if separates
            else "Members are not easier to restore by themselves.",
            estimate=estimate("Error without a model: members lower by", difference, counts),
        )
    )


def _strips(model: Denoiser, side: ImageSet, parameters: Mapping[str, Any], judge: Auditor) -> list[Strip]:
    """The first images in the order of their digests, whatever their errors."""
    chosen = side.digest_order[:STRIPS_A_SIDE]
    redacted, ids, prompts, strips = judge.images == "redacted", side.ids(), side.prompts(chosen), []
    for place, index in enumerate(chosen):
        prompt = None if prompts is None else prompts[place]
        shown = reconstruct(model, side.load([index])[0], seed=judge.seed, prompt=prompt, **parameters)
        pictures = (
            picture(shown.original, "original", redacted=redacted),
            picture(shown.degraded, f"what is left: {shown.mask}", redacted=redacted),
            picture(shown.chosen, "restored, the model's own choice", redacted=redacted),
            picture(shown.closest, "the closest of all tries (needs the answer)", redacted=redacted),
        )
        caption = (
            f"{ids[index]}: RMS on hidden pixels {shown.errors[0]:.3f}, closest of all tries {shown.errors[1]:.3f}"
        )
        strips.append(Strip(pictures=pictures, caption=caption, mark=side.role, conspicuous=side.role == "member"))
    return strips


def _needed(measured: MeanDifference, limit: float) -> str:
    """How many images would bring the nearer bound to the limit at the observed difference."""
    distance = abs(limit - measured.value)
    if distance == 0.0:
        return "at the observed difference no number of images decides"
    half_width = (measured.high - measured.low) / 2.0
    factor = max(1.0, (half_width / distance) ** 2)
    images = math.ceil(factor * max(measured.first, measured.second))
    return f"about {images} members and as many non-members would decide at the observed difference"
