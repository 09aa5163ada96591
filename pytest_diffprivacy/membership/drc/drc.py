"""DRC: how well the model brings back what was taken away from an image. Degrade, restore, compare.

The restored image is evidence that needs no statistics to be understood; `drc_strip` keeps it. One restoration often
locks on a wrong image, so scores average several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.membership.drc.compare import Embedding, find_comparison
from pytest_diffprivacy.membership.drc.restored_images import drc_evidence, plan_of
from pytest_diffprivacy.methods import Access, ImageBatch, method
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import Spacing
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images, finite_scores, image_batches
from pytest_diffprivacy.restoration.degrade import Degradation
from pytest_diffprivacy.restoration.masks import Masks, find_degradations
from pytest_diffprivacy.restoration.plan import RESTORATIONS, STEPS, Restoration, RestorationPlan, Start

MASKS: Final[tuple[str, ...]] = ("left", "right")


def drc_task_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    masks: Masks = MASKS,
    restoration: Restoration = "ddim",
    restorations: int = RESTORATIONS,
    comparison: str | Embedding = "rms_hidden",
    steps: int = STEPS,
    spacing: Spacing | None = None,
    start: Start = "noise",
    strength: float = 1.0,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """`drc_scores` before the mean over masks, for `calibrate_vote`.

    Returns:
        float64 (n, masks), higher = more likely member, in the order of `masks`.

    Source: Follows METHODS 3.11.
    """
    denoiser, checked = require_denoiser(model, "DRC"), as_images(images)
    plan = RestorationPlan(restoration, restorations, steps, spacing, start, strength)
    compare = find_comparison(comparison)

    @torch.no_grad()
    def restored_well(batch: ImageBatch, degradation: Degradation) -> Tensor:
        degraded = degradation.degrade(batch)
        total = torch.zeros(len(batch.images), dtype=torch.float64)
        for restored in plan.restored(denoiser, batch, degraded, degradation.name):
            total += compare(restored, batch.images, degraded.hidden)
        return total / plan.restorations

    columns = []
    for degradation in find_degradations(masks):
        batches = image_batches(denoiser, checked, prompts=prompts, seed=seed, batch_size=batch_size)
        scores = (restored_well(batch, degradation) for batch in batches)
        columns.append(finite_scores(scores, called=f"DRC ({degradation.name})"))
    return np.stack(columns, axis=1)


@wraps(drc_task_scores, assigned=())
def drc_scores(  # noqa: D417 - its parameters are those of drc_task_scores
    model: Denoiser, images: Tensor | ArrayLike, **asked: Any
) -> NDArray[np.float64]:
    """Score images by how well the model restores them, averaged over restorations and masks.

    Args:
        model: grey-box access; "saliency" masks differentiate through predict_eps.
        images: (n, channels, height, width) in [0, 1].
        masks: what is taken away: "left", "right", "top", "bottom", "random:0.3", "saliency", "blur:1.5",
            "downsample:4", or `Boxes`, `GivenMasks`, `Saliency`, ...; the default hides every pixel once.
        restoration: "ddim" or "ddnm" (deterministic) or "repaint" (10 times as dear).
        restorations: restorations a mask, each from its own noise.
        comparison: "rms_hidden" (minus the RMS on hidden pixels), "ssim" (whole image), or an embedding
            (images in [0, 1]) -> (n, dimensions), compared by cosine.
        steps: sampling steps of one restoration.
        spacing: overrides the schedule's own timestep spacing.
        start: "noise", or "inversion": DDIM inversion of the degraded image, hidden pixels filled with the mean. That
            is deterministic but for repaint, wants restorations=1, and is far weaker on the ideal denoiser.
        strength: share of the steps that are walked, from the clean end; below 1 only with start="inversion".
        seed: seed of noise and random masks, which also depend on each image's own digest.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: a bad argument, masks of the wrong size or values, or masks that hide nothing or everything.
        ModelError: a degradation that this model does not allow.
        AuditError: the model's output is not finite.

    Source: Inspired by Fu et al. 2024 (DRC): masks, steps, number of restorations and comparison are METHODS 3.11's,
        as no code or split is public.
    """
    return np.asarray(drc_task_scores(model, images, **asked).mean(1))


def _evaluations(p: Mapping[str, Any]) -> int:
    plan = plan_of(p)
    return sum(d.evaluations + plan.evaluations for d in find_degradations(p["masks"]))


drc = method(
    name="drc",
    title="DRC-style (degrade, restore, compare)",
    access=Access.GREY_BOX,
    source="inspired by Fu et al. 2024 (DRC); settings of this project",
    version=1,
    evaluations=_evaluations,
    evidence=drc_evidence,
)(drc_scores)
