"""How is sharpness measured at an image? At noised copies of it, averaged over the draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser, Prompt
from pytest_diffprivacy.models.scoring import as_images, batch_condition, batch_noise, score_images

DRAWS = 4


def mean_over_draws(
    model: Denoiser,
    images: Tensor | ArrayLike,
    measure: Callable[[Tensor, int, Conditioning | None], Tensor],
    *,
    timestep: int,
    draws: int,
    noise: Tensor | None,
    seed: int,
    prompts: Sequence[Prompt] | None,
    batch_size: int,
    method: str,
) -> NDArray[np.float64]:
    """Mean of a measure over noised copies x_t = alpha_t x0 + sigma_t eps of each image: float64 (n,).

    Args:
        model: gives encoder, schedule and conditioning.
        images: (n, channels, height, width) in [0, 1].
        measure: (x_t, the model's own timestep, conditioning) -> (batch,).
        timestep: a ReferenceTimestep is matched by signal-to-noise ratio; a plain int is the model's own.
        draws: noise draws for each image.
        noise: replaces the draws: (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one draw.
        seed: seed of the draws; each image's noise also depends on its own digest.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.
        method: name of the measure, for messages.

    Raises:
        UsageError: bad images, noise, timestep or prompts.
        AuditError: a value is not finite.
    """
    checked = as_images(images)
    t = model.schedule.match(timestep).index
    alpha, sigma = model.schedule.at(t)

    def score_batch(part: slice, batch: Tensor) -> Tensor:
        x0 = model.encode(batch)
        condition = batch_condition(model, prompts, part, len(checked))
        drawn = batch_noise(model, batch, part, draws=draws, noise=noise, total=len(checked), seed=seed)
        return torch.stack([measure(alpha * x0 + sigma * eps, t, condition).double() for eps in drawn]).mean(0)

    return score_images(checked, score_batch, batch_size=batch_size, method=method)
