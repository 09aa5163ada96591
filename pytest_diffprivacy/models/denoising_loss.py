"""How badly does the model predict the noise in a noised image?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser


def denoising_loss(
    model: Denoiser, x0: Tensor, *, timesteps: Sequence[int], noise: Tensor, conditioning: Conditioning | None
) -> Tensor:
    """Summed squared error of the predicted noise, averaged over timesteps and draws.

    `mean_{t, j} || eps_j - eps_theta(alpha_t x0 + sigma_t eps_j, t) ||_2^2`, a sum over elements.

    Args:
        model: the denoiser.
        x0: (b, *model.sample_shape) in the model's space.
        timesteps: the model's own indices.
        noise: (draws, b, *model.sample_shape), shared by all timesteps.
        conditioning: what `model.condition(...)` returned for these rows, or None.

    Returns:
        float64 (b,), on the model's device.

    Source: METHODS 3.0.
    """
    loss = torch.zeros(len(x0), dtype=torch.float64, device=model.device)
    for t in timesteps:
        alpha, sigma = model.schedule.at(t)
        for eps in noise:
            predicted = model.predict_eps(alpha * x0 + sigma * eps, t, conditioning)
            loss += (eps - predicted).double().square().flatten(1).sum(1)
    return loss / (len(timesteps) * len(noise))
