"""What does DRC show a reader? Restored images, and what a restoration without the model achieves on the same split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pytest_diffprivacy.audit import estimate
from pytest_diffprivacy.evidence.pictures import picture
from pytest_diffprivacy.evidence.records import Estimate, Strip
from pytest_diffprivacy.membership import RestorationPlan, control_scores, drc_strip
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.statistics import auroc

STRIPS_A_SIDE = 10
TITLE = "What the model restores: original, degraded, restored"


def restored_strips(
    model: Denoiser, probes: ProbeSet, parameters: Mapping[str, Any], *, seed: int, redacted: bool
) -> list[Strip]:
    """Strips of the first members and the first non-members in the order of their digests, whatever their scores.

    Args:
        model: the model under audit.
        probes: where the images come from.
        parameters: those of the DRC attack; the first of its masks is shown.
        seed: the run's seed, so that the strips are those that were scored.
        redacted: pixelate the pictures.
    """
    plan = RestorationPlan(
        **{key: value for key, value in parameters.items() if key in RestorationPlan.__annotations__}
    )
    masks = parameters["masks"]
    mask = masks if isinstance(masks, str) else masks[0]
    return [
        strip
        for side in (probes.members, probes.nonmembers)
        for strip in _side(model, side, mask, plan, seed, redacted)
    ]


def model_free_estimate(
    model: Denoiser, probes: ProbeSet, parameters: Mapping[str, Any], *, seed: int, confidence: float
) -> tuple[Estimate, str]:
    """The AUROC of the harmonic fill on the same masks, and a note that reads it.

    Above 0.5 the split itself gives members away, and DRC counts only as far as it exceeds this.

    Source: Implements control (2) of METHODS 3.11.
    """
    sides = []
    for images in (probes.members, probes.nonmembers):
        parts = [
            control_scores(
                torch.from_numpy(batch),
                parameters["masks"],
                comparison=parameters["comparison"],
                seed=seed,
                model=model,
                prompts=images.prompts(part),
            )
            for part, batch in images.batches(BATCH_SIZE)
        ]
        sides.append(np.concatenate(parts))
    area = auroc(*sides, confidence=confidence)
    counts = f"{len(sides[0])} members, {len(sides[1])} non-members"
    note = "Restoration without the model (harmonic fill) "
    if area.low > 0.5 or area.high < 0.5:
        note += (
            "separates the two sides as well: members and non-members differ, and the attack's AUROC counts only as "
        )
        note += "far as it exceeds this one."
    else:
        note += "does not separate the two sides."
    return estimate("AUROC of restoration without the model", area, counts), note


def _side(
    model: Denoiser, images: ImageSet, mask: str, plan: RestorationPlan, seed: int, redacted: bool
) -> list[Strip]:
    chosen = images.digest_order[:STRIPS_A_SIDE]
    ids, prompts, strips = images.ids(), images.prompts(chosen), []
    for place, index in enumerate(chosen):
        prompt = None if prompts is None else prompts[place]
        shown = drc_strip(model, images.load([index])[0], mask=mask, plan=plan, seed=seed, prompt=prompt)
        pictures = (
            picture(shown.original, "original", redacted=redacted),
            picture(shown.degraded, f"degraded: {shown.mask}", redacted=redacted),
            picture(shown.restored, "restored (median of the draws)", redacted=redacted),
        )
        caption = (
            f"{ids[index]}: RMS distance on hidden pixels {float(shown.distances.mean()):.3f} on average, "
            f"{float(shown.distances.min()):.3f} at best of {len(shown.distances)} restorations"
        )
        strips.append(Strip(pictures=pictures, caption=caption, mark=images.role, conspicuous=images.role == "member"))
    return strips
