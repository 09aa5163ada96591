"""Models of other libraries, wired as their own code wires them: denoising-diffusion-pytorch, azula, flow_matching."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.network import NetworkDenoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule

OBJECTIVES: Final = {"pred_noise": "epsilon", "pred_x0": "sample", "pred_v": "v_prediction"}
STEPS: Final = 1000
Shape = tuple[int, int, int]


def from_denoising_diffusion_pytorch(diffusion: Any, **settings: Any) -> NetworkDenoiser:
    """A GaussianDiffusion of denoising-diffusion-pytorch as a model: its network, its noise table and its objective.

    Args:
        diffusion: the GaussianDiffusion, with `auto_normalize` as it is by default.
        settings: name, version, device and dtype, as of a NetworkDenoiser.

    Raises:
        ModelError: it has no noise table (the continuous and the elucidated one), or does not normalize its images.
    """
    table = getattr(diffusion, "alphas_cumprod", None)
    objective = OBJECTIVES.get(str(getattr(diffusion, "objective", None)))
    if table is None or objective is None:
        raise ModelError(
            f"`diffusion` must be a GaussianDiffusion, got {type(diffusion).__name__}. Of an ElucidatedDiffusion, pass "
            "models.karras_denoiser(diffusion.preconditioned_network_forward, image_shape)."
        )
    if float(diffusion.normalize(torch.zeros(()))) != -1.0:
        raise ModelError(
            "`diffusion` must normalize its images to [-1, 1] (auto_normalize=True), got one that leaves them as they "
            "are. If training gave it images in [-1, 1], pass models.NetworkDenoiser(diffusion.model, schedule, "
            "image_shape, predicts=...); a model of images in another range needs a network that rescales its input."
        )
    schedule = NoiseSchedule.from_alphas_cumprod(table.double().cpu().numpy())
    shape = (int(diffusion.channels), *(int(side) for side in diffusion.image_size))
    return NetworkDenoiser(diffusion.model, schedule, shape, predicts=objective, **settings)  # type: ignore[arg-type]


def from_azula(denoiser: Any, image_shape: Shape, **settings: Any) -> NetworkDenoiser:
    """A Denoiser of azula as a model, at 1,000 times of its own schedule from 0 to 1.

    Args:
        denoiser: returns a posterior whose `mean` is the clean image in [-1, 1], and holds its `schedule`.
        image_shape: (channels, height, width).
        settings: name, version, device and dtype, as of a NetworkDenoiser.
    """
    times = np.linspace(0.0, 1.0, STEPS)
    alphas, sigmas = (part.numpy() for part in denoiser.schedule(torch.from_numpy(times)))
    schedule = NoiseSchedule(alphas, sigmas, "linspace")
    return NetworkDenoiser(_Mean(denoiser), schedule, image_shape, predicts="sample", times=times, **settings)


def from_flow_matching(velocity: Any, image_shape: Shape, *, scheduler: Any, **settings: Any) -> NetworkDenoiser:
    """A velocity model of flow_matching as a model; its time runs from noise (0) to image (1), the other way round.

    Args:
        velocity: (x, t) -> velocity from the noise to the image, t a vector.
        image_shape: (channels, height, width).
        scheduler: of the path that it was trained on, e.g. path.scheduler or CondOTScheduler().
        settings: name, version, device and dtype, as of a NetworkDenoiser.

    Source: Implements the change from velocity to noise of Lipman et al. 2024 (Flow Matching Guide and Code, Table 1).
    """
    times = np.arange(STEPS - 1, 0, -1) / STEPS  # at either end, a velocity says nothing of noise or image
    path = scheduler(torch.from_numpy(times))
    schedule = NoiseSchedule(path.alpha_t.numpy(), path.sigma_t.numpy(), "trailing")
    return NetworkDenoiser(_Noise(velocity, scheduler), schedule, image_shape, times=times, **settings)


class _Mean(torch.nn.Module):
    """The clean image that a denoiser of azula expects."""

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        mean: Tensor = self.denoiser(x, times).mean
        return mean


class _Noise(torch.nn.Module):
    """The noise x0 that a velocity u = a' x1 + s' x0 at x = a x1 + s x0 implies: (a u - a' x) / (a s' - a' s)."""

    def __init__(self, velocity: Any, scheduler: Any) -> None:
        super().__init__()
        self.velocity, self._scheduler = velocity, scheduler

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        path = self._scheduler(times)
        a, s, da, ds = (
            part.reshape(-1, 1, 1, 1) for part in (path.alpha_t, path.sigma_t, path.d_alpha_t, path.d_sigma_t)
        )
        noise: Tensor = (a * self.velocity(x, times) - da * x) / (a * ds - da * s)
        return noise
