"""Denoising loss: is the noise in a noised copy of the image predicted better than for other images?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.models.denoising_loss import denoising_loss
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep, match_all
from pytest_diffprivacy.models.scoring import (
    BATCH_SIZE,
    as_images,
    batch_condition,
    batch_noise,
    score_images,
)

TIMESTEPS: tuple[int, ...] = (ReferenceTimestep(100),)
DRAWS = 20


def loss_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timesteps: Sequence[int] = TIMESTEPS,
    draws: int = DRAWS,
    flip: bool = False,
    noise: Tensor | None = None,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images by minus their denoising loss, averaged over noise draws, timesteps and, with `flip`, mirror images.

    `score = -mean_{t, j} || eps_j - eps_theta(alpha_t x0 + sigma_t eps_j, t) ||_2^2`, a sum over pixels.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        timesteps: the default is the papers' t = 100, matched by signal-to-noise ratio; plain ints are the model's own.
        draws: noise draws for each image, shared by all timesteps.
        flip: average over the image and its mirror image, for models whose training flipped images horizontally; the
            mirror image has draws of its own, and costs as much again.
        noise: replaces the draws: (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one draw; the mirror
            image gets the same.
        seed: seed of the draws; each image's noise also depends on its own digest.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: bad images, noise, timesteps or prompts.
        AuditError: the model's output is not finite.

    Source: Implements the loss attack of Yeom et al. 2018 on diffusion models as in Carlini et al. 2023, section 5.1;
    averaging over the training's augmentation as in section 5.2.
    """
    denoiser = require_denoiser(model, "The loss attack")
    checked = as_images(images)
    times = [m.index for m in match_all(denoiser.schedule, timesteps)]

    @torch.no_grad()
    def score_batch(part: slice, batch: Tensor) -> Tensor:
        condition = batch_condition(denoiser, prompts, part, len(checked))
        views = [batch, batch.flip(-1)] if flip else [batch]
        losses = [
            denoising_loss(
                denoiser,
                denoiser.encode(view),
                timesteps=times,
                noise=batch_noise(denoiser, view, part, draws=draws, noise=noise, total=len(checked), seed=seed),
                conditioning=condition,
            )
            for view in views
        ]
        return -torch.stack(losses).mean(0)

    return score_images(checked, score_batch, batch_size=batch_size, method="The loss attack")


LOSS = Attack(
    name="loss",
    title="Denoising loss",
    access="grey box",
    source="Yeom et al. 2018; Carlini et al. 2023, section 5.1",
    scores=loss_scores,
    defaults={"timesteps": TIMESTEPS, "draws": DRAWS, "flip": False},
    version=1,
    seeded=True,
    evaluations=lambda p: len(p["timesteps"]) * int(p["draws"]) * (2 if p["flip"] else 1),
    timesteps=lambda p: tuple(p["timesteps"]),
    decides_at_timestep=True,
)
