"""How does an image move between noise levels? Deterministic DDIM steps in both directions, never clipped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.prediction import x0_from_eps
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import Spacing

Point = tuple[float, float]


def ddim_step(x: Tensor, eps: Tensor, source: Point, target: Point) -> Tensor:
    """Move x from (alpha, sigma) `source` to `target` along a given eps; a noisier target is inversion.

    Source: Implements Song, Meng and Ermon 2021 (DDIM), Eq. 12 with eta = 0, in the form D(x; t -> s) of METHODS 0.4.
    """
    return target[0] * x0_from_eps(eps, x, *source) + target[1] * eps


@torch.no_grad()
def ddim_sample(
    model: Denoiser,
    x_T: Tensor,
    *,
    steps: int = 50,
    spacing: Spacing | None = None,
    conditioning: Conditioning | None = None,
) -> Tensor:
    """Sample deterministically (eta = 0) from x_T.

    Args:
        model: the denoiser.
        x_T: (n, *model.sample_shape) standard normal noise.
        steps: sampling steps; the visited indices are `model.schedule.sampling_timesteps(steps)`.
        spacing: overrides the schedule's own timestep spacing.
        conditioning: what `model.condition(...)` returned, or None.

    Returns:
        x0 in the model's space (pixels in [-1, 1], not clamped; latents for latent models), same shape as x_T;
        `model.decode` turns it into images in [0, 1].

    Raises:
        UsageError: x_T has the wrong shape, or steps are outside 1..T.

    Source: Implements Song, Meng and Ermon 2021 (DDIM), section 4.1; equals diffusers' DDIMScheduler without clipping
    wherever the visited indices are T // steps apart, as that scheduler takes for granted.
    """
    if tuple(x_T.shape[1:]) != model.sample_shape:
        raise UsageError(f"`x_T` must have shape (n, {model.sample_shape}), got {tuple(x_T.shape)}.")
    schedule = model.schedule
    times = schedule.sampling_timesteps(steps, spacing=spacing)
    x = x_T.to(device=model.device, dtype=model.dtype)
    ends = [schedule.at(t) for t in times[1:]] + [schedule.final]
    for t, target in zip(times, ends, strict=True):
        x = ddim_step(x, model.predict_eps(x, t, conditioning), schedule.at(t), target)
    return x


@torch.no_grad()
def ddim_invert(
    model: Denoiser,
    images: Tensor,
    *,
    timesteps: Sequence[int],
    conditioning: Conditioning | None = None,
    predict_at: Literal["source", "target"] = "source",
) -> Tensor:
    """Carry images deterministically to the noise level of the last timestep.

    Args:
        model: the denoiser.
        images: (n, channels, height, width) in [0, 1].
        timesteps: increasing indices to visit, e.g. range(0, 100, 10). With `predict_at="source"` the clean image
            stands at index 0, as in the membership attacks; index 0 is put in front where it is missing.
        conditioning: what `model.condition(...)` returned, or None.
        predict_at: "source" predicts eps at the step one comes from (SecMI); "target" at the step one goes to, from
            a clean image with alpha = 1, sigma = 0 to timesteps[0] and on (diffusers' DDIMInverseScheduler).

    Returns:
        x_t in the model's space at timesteps[-1].

    Raises:
        UsageError: timesteps are empty, not increasing, or outside the schedule.

    Source: Implements the inversion of Duan et al. 2023 (SecMI), Eq. 8-9 ("source"), and of diffusers ("target").
    """
    times = [int(t) for t in timesteps]
    if not times or any(b <= a for a, b in pairwise(times)):
        raise UsageError(f"`timesteps` must be increasing and not empty, got {times}.")
    for t in times:
        model.schedule.check(t, "timesteps")
    x = model.encode(images)
    if predict_at == "target":
        path: list[Point] = [(1.0, 0.0)] + [model.schedule.at(t) for t in times]
        evaluate_at = times
    else:
        times = times if times[0] == 0 else [0, *times]
        path = [model.schedule.at(t) for t in times]
        evaluate_at = times[:-1]
    for t, source, target in zip(evaluate_at, path, path[1:], strict=False):
        x = ddim_step(x, model.predict_eps(x, t, conditioning), source, target)
    return x
