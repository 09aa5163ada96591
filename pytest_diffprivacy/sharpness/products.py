"""How does the score change along itself? s and H s at any point, H the Hessian of the log density."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser, WhiteBoxDenoiser


def score(model: Denoiser, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
    """The score s = -eps / sigma_t = grad log p_t(x_t), same shape as x_t.

    Source: Implements the identity of METHODS 0.3 (Song et al. 2021).
    """
    return -model.predict_eps(x_t, timestep, conditioning) / model.schedule.at(timestep)[1]


def hessian_score_product(
    model: WhiteBoxDenoiser, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None
) -> tuple[Tensor, Tensor]:
    """The score s and the product H s with H = grad s = -J_eps / sigma_t, by forward-mode differentiation.

    A reverse-mode product would give H^T s, which differs for a trained network.

    Returns:
        (s, H s), each of x_t's shape.

    Source: Implements the unconditional form of the product in Jeon et al. 2025, section 4.
    """
    sigma = model.schedule.at(timestep)[1]
    with torch.no_grad():
        s = score(model, x_t, timestep, conditioning)
    _, eps_change = model.eps_jvp(x_t, timestep, s, conditioning)
    return s, -eps_change / sigma
