"""Score norm: how steep is the log density around a noised image?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.sharpness.noised import DRAWS, mean_over_draws
from pytest_diffprivacy.sharpness.products import score
from pytest_diffprivacy.sharpness.statistic import SharpnessStatistic

TIMESTEP: int = ReferenceTimestep(100)


def score_norm_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int = TIMESTEP,
    draws: int = DRAWS,
    noise: Tensor | None = None,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Mean over noise draws of `|| s(x_t) ||_2` at x_t = alpha_t x0 + sigma_t eps; higher = sharper.

    In expectation over the density, E || s ||^2 = -tr E[H]: a steep score means large negative curvature.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        timestep: the default is the papers' t, matched by signal-to-noise ratio; a plain int is the model's own.
        draws: noise draws for each image.
        noise: replaces the draws: (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one draw.
        seed: seed of the draws; each image's noise also depends on its own digest.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,).

    Raises:
        UsageError: bad images, noise, timestep or prompts.
        AuditError: the model's output is not finite.

    Source: Inspired by Jeon et al. 2025, section 4: their score s_Delta, here the unconditional score at an image.
    """
    denoiser = require_denoiser(model, "The score norm")

    @torch.no_grad()
    def norm(x_t: Tensor, t: int, condition: Conditioning | None) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(score(denoiser, x_t, t, condition).double().flatten(1), dim=1)
        return norms

    return mean_over_draws(
        denoiser,
        images,
        norm,
        timestep=timestep,
        draws=draws,
        noise=noise,
        seed=seed,
        prompts=prompts,
        batch_size=batch_size,
        method="The score norm",
    )


SCORE_NORM = SharpnessStatistic(
    name="score_norm",
    title="Score norm",
    access="grey box",
    source="inspired by Jeon et al. 2025, section 4",
    scores=score_norm_scores,
    timestep=TIMESTEP,
    version=1,
)
