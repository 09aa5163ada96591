"""The claim "hidden parts do not come back": members are restored hardly better than images the model never saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_diffprivacy.assertions.evidence import method_record
from pytest_diffprivacy.assertions.plans import Planned, planned_difference
from pytest_diffprivacy.assertions.plans import sides as planned_sides
from pytest_diffprivacy.assertions.reconstruction_evidence import (
    HEADLINES,
    compared_errors,
    filled_baseline,
    needed_images,
    restored_parts,
)
from pytest_diffprivacy.assertions.reconstruction_tables import judge_error_table
from pytest_diffprivacy.assertions.split import judged_split
from pytest_diffprivacy.audit import Auditor, Findings, Question, current_auditor
from pytest_diffprivacy.engine import ScoreTask
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.extraction.reconstruction import COLUMNS, VERSION, reconstruction_errors
from pytest_diffprivacy.models.protocols import require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.probes import ImageSet, ProbeSet, ScoreTable
from pytest_diffprivacy.restoration import Degradation
from pytest_diffprivacy.restoration.plan import Restoration
from pytest_diffprivacy.statistics import MeanDifference
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction


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
        model: grey-box access; or a ScoreTable with one column, the RMS error on hidden pixels of each image, in
            [0, 1]: **lower = restored better**. Then all probes are judged, and what says how to restore has no part.
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
        reference: grey-box access to a model of the same images that saw neither members nor non-members; a ScoreTable
            of its errors where the model is one.
        confidence: of each one-sided bound; the session's by default.
        auditor: who judges; the session's by default.

    Returns:
        The claim's record, with `.verdict`, `.value`, `.low` and `.high`.

    Raises:
        PrivacyViolation: the claim is refuted.
        Inconclusive: neither bound decides, or there are fewer than 10 images a side.
        UsageError: a bad argument, a split with shared images, or a table that does not match the probes one to one.
        AuditError: the model returns NaN; or the errors of a table are all equal, or would pass and are lower for
            non-members beyond chance.

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
    if isinstance(model, ScoreTable):
        return judge_error_table(judge, model, probes, reference, limit=allowed, confidence=level)
    draws, steps = check_count("draws", draws, least=1), check_count("steps", steps, least=1)
    if check_count("keep", keep, least=1) > draws:
        raise UsageError(f"`keep` must be at most `draws` ({draws}), got {keep!r}. Lower it, or restore more often.")
    if not isinstance(mask, str | Degradation):
        raise UsageError(f"`mask` must be a name such as 'left' or 'random:0.3', got {type(mask).__name__}.")
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
        errors = [judge.scores(denoiser, side, task, findings.work) for side in sides]
        beaten = None if other is None else [judge.scores(other, side, task, findings.work) for side in sides]
        swapped = "Are members and non-members swapped?"
        measured = compared_errors(findings, errors, beaten, level, title="Reconstruction", cure=swapped)
        filled_baseline(findings, denoiser, sides, mask, judge.seed, level)
        findings.needed = lambda: needed_images(measured, allowed)
        if judge.images != "none":
            findings.strips_title = "What the model restores, chosen by its own loss"
            shown = {key: value for key, value in parameters.items() if key != "keep"}
            findings.strips += [s for side in sides for s in restored_parts(denoiser, side, shown, judge)]
        return measured

    return judge.judge(question, measure)


def _sides(probes: ProbeSet) -> tuple[ImageSet, ImageSet]:
    return probes.members, probes.nonmembers


def _chosen(side: ImageSet, count: int, seed: int, stream: int) -> ImageSet:
    """`count` of the images, in order; all where there are no more."""
    if len(side) <= count:
        return side
    return side.subset(sorted(np.random.default_rng([seed, stream]).permutation(len(side))[:count].tolist()))
