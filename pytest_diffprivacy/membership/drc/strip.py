"""What does DRC show a reader who wants to see for himself? The original, what was left of it, and what came back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.scoring import as_images, batch_condition
from pytest_diffprivacy.restoration.degrade import Batch, Degradation, rms_hidden
from pytest_diffprivacy.restoration.masks import find_degradations
from pytest_diffprivacy.restoration.plan import RestorationPlan


@dataclass(frozen=True, slots=True)
class Strip:
    """What DRC shows of one image, in [0, 1].

    Attributes:
        original: (channels, height, width).
        degraded: the same shape, hidden pixels filled with the mean of the others.
        restored: the restoration of median distance: a typical one, neither the best nor the worst.
        hidden: bool (height, width), True where the model had to restore.
        restorations: (restorations, channels, height, width), all of them in the order they were drawn.
        distances: (restorations,) RMS to the original on hidden pixels.
        mask: name of the degradation.
    """

    original: NDArray[np.float64]
    degraded: NDArray[np.float64]
    restored: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    restorations: NDArray[np.float64]
    distances: NDArray[np.float64]
    mask: str


@torch.no_grad()
def drc_strip(
    model: Denoiser,
    image: Tensor | ArrayLike,
    *,
    mask: str | Degradation = "left",
    plan: RestorationPlan | None = None,
    seed: int = 0,
    prompt: Prompt | None = None,
) -> Strip:
    """Original, degraded and restored image, as evidence.

    The restorations are those that `drc_scores` averaged for this image, mask, plan and seed.

    Args:
        model: grey-box access.
        image: (channels, height, width) in [0, 1].
        mask: one degradation.
        plan: how the model restores; the defaults of `drc_scores` where it is left out.
        seed: seed of noise and random masks.
        prompt: the image's prompt for conditional models.

    Raises:
        UsageError: as for `drc_scores`.

    Source: Follows METHODS 3.11; showing the median restoration is ours.
    """
    denoiser, plan = require_denoiser(model, "DRC"), plan or RestorationPlan()
    single = as_images(image[None] if isinstance(image, Tensor) else np.asarray(image)[None])
    (degradation,) = find_degradations(mask)
    condition = batch_condition(denoiser, None if prompt is None else [prompt], slice(0, 1), 1)
    batch = Batch(single, slice(0, 1), 1, seed, denoiser, condition)
    degraded = degradation.degrade(batch)
    restored = torch.cat(list(plan.restored(denoiser, batch, degraded, degradation.name)))
    count = plan.restorations
    rms = rms_hidden(restored, single.expand(count, -1, -1, -1), degraded.hidden.expand(count, -1, -1, -1))
    typical = int(rms.argsort(stable=True)[(len(rms) - 1) // 2])
    return Strip(
        original=single[0].double().numpy(),
        degraded=degraded.shown[0].numpy(),
        restored=restored[typical].numpy(),
        hidden=degraded.hidden[0, 0].numpy(),
        restorations=restored.numpy(),
        distances=rms.numpy(),
        mask=degradation.name,
    )
