"""Products at a point: the score s and H s, H the Hessian of the log density, and their means over noised images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pytest_diffprivacy.methods import ImageBatch
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser, WhiteBoxDenoiser

DRAWS = 4


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


def mean_over_draws(batch: ImageBatch, timestep: int, draws: int, measure: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Mean of a measure of (x_t, t) over noised copies x_t = alpha_t x0 + sigma_t eps of each image: float64 (b,)."""
    t, alpha, sigma = batch.at(timestep)
    return torch.stack([measure(alpha * batch.x0 + sigma * eps, t).double() for eps in batch.noise(draws)]).mean(0)
