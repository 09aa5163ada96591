"""Hessian-score product: whether the log density is needle-sharp around a noised image."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_diffprivacy.methods import Access, ImageBatch, Kind, method
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.sharpness.landscape import DRAWS, NOT_PLANTED, hessian_score_product, mean_over_draws, spectra


@method(
    kind=Kind.SHARPNESS,
    title="Hessian-score product",
    called="The Hessian-score product",
    access=Access.WHITE_BOX,
    source="inspired by Jeon et al. 2025, section 4",
    version=1,
    evaluations=lambda p: 2 * int(p["draws"]),
    noise="draws",
    uncontrolled=NOT_PLANTED,
    evidence=spectra,
)
def hessian_score(batch: ImageBatch, *, timestep: int = ReferenceTimestep(100), draws: int = DRAWS) -> Tensor:
    """Mean over noise draws of `|| H(x_t) s(x_t) ||_2` at x_t = alpha_t x0 + sigma_t eps; higher = sharper.

    H s weighs each direction of curvature by the score in it: for one Gaussian E || H s ||^2 = -tr H^3, so a few sharp
    directions dominate. Around a memorized image H is near -I / sigma_t^2 and the norm near sqrt(d) / sigma_t^3.

    Args:
        model: white-box access (forward-mode derivatives).
        timestep: the default is the papers' t, matched by signal-to-noise ratio; a plain int is the model's own.
        draws: noise draws for each image.

    Raises:
        UsageError: bad images, noise, timestep or prompts.

    Source: Inspired by Jeon et al. 2025, section 4: their product H_Delta s_Delta, here unconditional and at an image.
    """

    def norm(x_t: Tensor, t: int) -> Tensor:
        product = hessian_score_product(batch.white_box, x_t, t, batch.conditioning)[1]
        norms: Tensor = torch.linalg.vector_norm(product.double().flatten(1), dim=1)
        return norms

    return mean_over_draws(batch, timestep, draws, norm)


hessian_score_scores = hessian_score.scores
