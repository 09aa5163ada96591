"""Curvature along the score: how sharply does the log density bend in the direction in which it rises?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Prompt, WhiteBoxDenoiser, require_white_box
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import BATCH_SIZE
from pytest_diffprivacy.sharpness.noised import DRAWS, mean_over_draws
from pytest_diffprivacy.sharpness.products import hessian_score_product
from pytest_diffprivacy.sharpness.statistic import SharpnessStatistic

TIMESTEP: int = ReferenceTimestep(20)


def curvature_scores(
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
    """Mean over noise draws of `-s . H s / s . s` at x_t = alpha_t x0 + sigma_t eps; higher = sharper.

    The Rayleigh quotient of -H at the score. Around a memorized image H is near -I / sigma_t^2 and the quotient near
    its largest value 1 / sigma_t^2; in a smooth region of variance q it is 1 / (alpha_t^2 q + sigma_t^2). Unlike the
    norms it does not grow with the score itself, on which an overfitted network is erratic away from its training
    images. For s = 0 the quotient is undefined and an error.

    Args:
        model: white-box access (forward-mode derivatives).
        images: (n, channels, height, width) in [0, 1].
        timestep: the default is a small noise level of the papers' schedule, matched by signal-to-noise ratio; a plain
            int is the model's own.
        draws: noise draws for each image.
        noise: replaces the draws: (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one draw.
        seed: seed of the draws; each image's noise also depends on its own digest.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,).

    Raises:
        UsageError: bad images, noise, timestep or prompts.
        AuditError: the model's output is not finite, or a score is exactly zero.

    Source: Inspired by Jeon et al. 2025, section 4: the curvature that their product H s carries, here normalized by
        the score; the quotient and its noise level are ours.
    """
    denoiser = require_white_box(model, "The curvature along the score")

    def quotient(x_t: Tensor, t: int, condition: Conditioning | None) -> Tensor:
        s, product = hessian_score_product(denoiser, x_t, t, condition)
        s, product = s.double().flatten(1), product.double().flatten(1)
        return -(s * product).sum(1) / (s * s).sum(1)

    return mean_over_draws(
        denoiser,
        images,
        quotient,
        timestep=timestep,
        draws=draws,
        noise=noise,
        seed=seed,
        prompts=prompts,
        batch_size=batch_size,
        method="The curvature along the score",
    )


CURVATURE = SharpnessStatistic(
    name="curvature",
    title="Curvature along the score",
    access="white box",
    source="ours, inspired by Jeon et al. 2025, section 4",
    scores=curvature_scores,
    timestep=TIMESTEP,
    version=1,
)
