"""Score norm: how steep the log density is around a noised image."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_diffprivacy.methods import Access, ImageBatch, Kind, method
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.sharpness.landscape import DRAWS, NOT_PLANTED, mean_over_draws, score, spectra


@method(
    kind=Kind.SHARPNESS,
    title="Score norm",
    called="The score norm",
    access=Access.GREY_BOX,
    source="inspired by Jeon et al. 2025, section 4",
    version=1,
    evaluations=lambda p: int(p["draws"]),
    noise="draws",
    uncontrolled=NOT_PLANTED,
    evidence=spectra,
)
def score_norm(batch: ImageBatch, *, timestep: int = ReferenceTimestep(100), draws: int = DRAWS) -> Tensor:
    """Mean over noise draws of `|| s(x_t) ||_2` at x_t = alpha_t x0 + sigma_t eps; higher = sharper.

    In expectation over the density, E || s ||^2 = -tr E[H]: a steep score means large negative curvature.

    Args:
        timestep: the default is the papers' t, matched by signal-to-noise ratio; a plain int is the model's own.
        draws: noise draws for each image.

    Raises:
        UsageError: bad images, noise, timestep or prompts.

    Source: Inspired by Jeon et al. 2025, section 4: their score s_Delta, here the unconditional score at an image.
    """

    def norm(x_t: Tensor, t: int) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(
            score(batch.model, x_t, t, batch.conditioning).double().flatten(1), dim=1
        )
        return norms

    return mean_over_draws(batch, timestep, draws, norm)


score_norm_scores = score_norm.scores
