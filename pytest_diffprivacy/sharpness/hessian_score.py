"""Hessian-score product: is the log density needle-sharp around a noised image?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Prompt, WhiteBoxDenoiser, require_white_box
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.sharpness.noised import DRAWS, mean_over_draws
from pytest_diffprivacy.sharpness.products import hessian_score_product
from pytest_diffprivacy.sharpness.statistic import SharpnessStatistic

TIMESTEP: int = ReferenceTimestep(100)


def hessian_score_scores(
    model: WhiteBoxDenoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int = TIMESTEP,
    draws: int = DRAWS,
    noise: Tensor | None = None,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Mean over noise draws of `|| H(x_t) s(x_t) ||_2` at x_t = alpha_t x0 + sigma_t eps; higher = sharper.

    H s weighs each direction of curvature by the score in it: for one Gaussian E || H s ||^2 = -tr H^3, so a few sharp
    directions dominate. Around a memorized image H is near -I / sigma_t^2 and the norm near sqrt(d) / sigma_t^3.

    Args:
        model: white-box access (forward-mode derivatives).
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

    Source: Inspired by Jeon et al. 2025, section 4: their product H_Delta s_Delta, here unconditional and at an image.
    """
    denoiser = require_white_box(model, "The Hessian-score product")

    def norm(x_t: Tensor, t: int, condition: Conditioning | None) -> Tensor:
        product = hessian_score_product(denoiser, x_t, t, condition)[1]
        norms: Tensor = torch.linalg.vector_norm(product.double().flatten(1), dim=1)
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
        method="The Hessian-score product",
    )


HESSIAN_SCORE = SharpnessStatistic(
    name="hessian_score",
    title="Hessian-score product",
    access="white box",
    source="inspired by Jeon et al. 2025, section 4",
    scores=hessian_score_scores,
    timestep=TIMESTEP,
    version=1,
)
