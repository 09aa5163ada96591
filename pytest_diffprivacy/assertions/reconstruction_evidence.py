"""What do errors on hidden pixels show? The judged difference, and all that a reader wants beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.coherence import check_order
from pytest_diffprivacy.assertions.evidence import histogram_record
from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Control, ControlOutcome, Recipe, Strip
from pytest_diffprivacy.extraction.reconstruction import COLUMNS, fill_errors, reconstruct
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.restoration import Degradation
from pytest_diffprivacy.restoration.plan import FILLS
from pytest_diffprivacy.statistics import MeanDifference, Verdict, auroc, mean_difference

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
RESTORED: Final = "The same hidden parts were filled with the smoothest surface through what is left."


def compared_errors(
    findings: Findings,
    errors: list[NDArray[np.float64]],
    reference: list[NDArray[np.float64]] | None,
    confidence: float,
    *,
    title: str,
    cure: str,
) -> MeanDifference:
    """The judged difference; everything else that a reader wants goes into the findings.

    Args:
        findings: the claim's.
        errors: of members and of non-members, (images, columns), the judged one first.
        reference: the same of a reference model; None: none.
        confidence: of each bound.
        title: of what restored, for the check of the order.
        cure: what to do where non-members are restored better beyond chance.

    Raises:
        AuditError: an error is NaN, or all are equal.
    """
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
    check_order(findings, *gains, title=title, cure=cure)
    findings.arrays |= {f"{name}_gains": side for name, side in zip(names, gains, strict=True)}
    findings.recipe = Recipe(
        statistic="mean_difference",
        arrays={"first": ("member_gains",), "second": ("nonmember_gains",)},
        arguments={"confidence": confidence},
    )
    area = auroc(-honest[0], -honest[1], confidence=confidence)
    findings.also_measured.append(estimate("AUROC of minus the error", area, counts))
    for column, name in enumerate(COLUMNS[1 : errors[0].shape[1]], start=1):
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


def filled_baseline(
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
            done=RESTORED,
            outcome=ControlOutcome.FAILED if separates else ControlOutcome.HELD,
            meaning="Members and non-members differ without the model: the claim's difference counts only as far as it "
            "exceeds this one."
            if separates
            else "Members are not easier to restore by themselves.",
            estimate=estimate("Error without a model: members lower by", difference, counts),
        )
    )


def restored_parts(model: Denoiser, side: ImageSet, parameters: Mapping[str, Any], judge: Auditor) -> list[Strip]:
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


def needed_images(measured: MeanDifference, limit: float) -> str:
    """How many images would bring the nearer bound to the limit at the observed difference."""
    distance = abs(limit - measured.value)
    if distance == 0.0:
        return "at the observed difference no number of images decides"
    half_width = (measured.high - measured.low) / 2.0
    factor = max(1.0, (half_width / distance) ** 2)
    images = math.ceil(factor * max(measured.first, measured.second))
    return f"about {images} members and as many non-members would decide at the observed difference"
