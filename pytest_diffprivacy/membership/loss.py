"""Denoising loss: how well the noise in a noised copy of the image is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pytest_diffprivacy.membership.frequency_filter import FrequencyFilter, filtered
from pytest_diffprivacy.membership.latent_mask import LatentMask, kept
from pytest_diffprivacy.membership.pia import check_power, power_sum
from pytest_diffprivacy.membership.weighed import weighed_evidence
from pytest_diffprivacy.methods import Access, ImageBatch, method
from pytest_diffprivacy.models.prediction import denoising_loss
from pytest_diffprivacy.models.schedule import ReferenceTimestep

TIMESTEPS: tuple[int, ...] = (ReferenceTimestep(100),)
DRAWS = 20


@method(
    title="Denoising loss",
    called="The loss attack",
    access=Access.GREY_BOX,
    source="Yeom et al. 2018; Carlini et al. 2023, section 5.1",
    version=1,
    evaluations=lambda p: len(p["timesteps"]) * int(p["draws"]) * (2 if p["flip"] else 1),
    noise="draws",
    decides_at_timestep=True,
    evidence=weighed_evidence,
)
def loss(
    batch: ImageBatch,
    *,
    timesteps: Sequence[int] = TIMESTEPS,
    draws: int = DRAWS,
    flip: bool = False,
    p: float = 2.0,
    frequency_filter: FrequencyFilter | None = None,
    latent_mask: LatentMask | None = None,
) -> Tensor:
    """Score images by minus their denoising loss, averaged over noise draws, timesteps and, with `flip`, mirror images.

    `score = -mean_{t, j} || eps_j - eps_theta(alpha_t x0 + sigma_t eps_j, t) ||_2^2`, a sum over pixels.

    Args:
        timesteps: the default is the papers' t = 100, matched by signal-to-noise ratio; plain ints are the model's own.
        draws: noise draws for each image, shared by all timesteps.
        flip: average over the image and its mirror image, for models whose training flipped images horizontally; the
            mirror image has draws of its own, and costs as much again.
        p: power of the error, > 0; 2 is the loss, 4 what the code of the latent-dimension mask sums.
        frequency_filter: damps the error's high spatial frequencies; fix it before labels are seen. None: none.
        latent_mask: of latent models, which dimensions of the error count; None: all.
        noise: replaces the draws: (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one draw; the mirror
            image gets the same.

    Raises:
        UsageError: bad images, noise, timesteps or prompts.

    Source: Implements the loss attack of Yeom et al. 2018 on diffusion models as in Carlini et al. 2023, section 5.1;
    averaging over the training's augmentation as in section 5.2; frequency filter of FreMIA (METHODS
    3.14), latent-dimension mask of Rao, Qu and Moyer 2026 (METHODS 3.15).
    """
    check_power(p)
    times = batch.times(timesteps)

    def size(mask: Tensor, error: Tensor, timestep: int) -> Tensor:
        return power_sum(filtered(error, frequency_filter, batch.model.schedule.at(timestep)) * mask, p)

    losses = [
        denoising_loss(
            view.model,
            view.x0,
            timesteps=times,
            noise=view.draws(draws),
            conditioning=batch.conditioning,
            size=partial(size, kept(view, latent_mask)),
        )
        for view in ([batch, replace(batch, images=batch.images.flip(-1))] if flip else [batch])
    ]
    return -torch.stack(losses).mean(0)


loss_scores = loss.scores
