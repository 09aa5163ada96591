"""DDIM: deterministic steps between noise levels, in both directions and under guidance, never clipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.prediction import x0_from_eps
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import Point, Spacing

GuidanceRule: TypeAlias = Callable[[int, Tensor, Tensor], float | Tensor]


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
    path = model.schedule.sampling_path(steps, spacing)
    x = x_T.to(device=model.device, dtype=model.dtype)
    for t, source, target in path:
        x = ddim_step(x, model.predict_eps(x, t, conditioning), source, target)
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


@dataclass(frozen=True, slots=True)
class GuidedStep:
    """One step of a guided trajectory; tensors are (n, *sample_shape).

    Attributes:
        index: 0 for the first step.
        timestep: the model's own.
        x_t: where the step starts.
        eps_u: noise in x_t without the prompt.
        eps_c: noise in x_t with the prompt.
        x_next: where the step leads.
    """

    index: int
    timestep: int
    x_t: Tensor
    eps_u: Tensor
    eps_c: Tensor
    x_next: Tensor


def predict_pair(
    model: Denoiser, x_t: Tensor, timestep: int, conditioning: Conditioning, unconditional: Conditioning | None
) -> tuple[Tensor, Tensor]:
    """(eps_u, eps_c) at x_t from one call with the rows [u, c]: two network rows an image."""
    blank = model.condition(None, len(x_t)) if unconditional is None else unconditional
    assert blank is not None, "a text-to-image model has an unconditional branch"
    both = model.predict_eps(torch.cat([x_t, x_t]), timestep, Conditioning.joined([blank, conditioning]))
    eps_u, eps_c = both.chunk(2)
    return eps_u, eps_c


@torch.no_grad()
def guided_ddim(
    model: Denoiser,
    x_T: Tensor,
    conditioning: Conditioning,
    *,
    unconditional: Conditioning | None = None,
    steps: int = 50,
    guidance_scale: float | GuidanceRule = 7.5,
    spacing: Spacing | None = None,
) -> Iterator[GuidedStep]:
    """Walk from x_T to x0 (eta = 0), yielding every step; stop early by leaving the loop.

    Args:
        model: the denoiser.
        x_T: (n, *model.sample_shape) standard normal noise.
        conditioning: of the prompts, n rows.
        unconditional: n rows of the branch that guidance leads away from; None: the empty prompt.
        steps: sampling steps of the whole walk.
        guidance_scale: g in eps_u + g (eps_c - eps_u), or a rule (timestep, eps_u, eps_c) -> g, which may be a tensor
            (n, 1, 1, 1).
        spacing: overrides the schedule's own timestep spacing.

    Raises:
        UsageError: x_T has the wrong shape or another number of rows, or steps are outside 1..T.

    Source: Implements Ho and Salimans 2022 (classifier-free guidance) on Song, Meng and Ermon 2021 (DDIM); equals a
    StableDiffusionPipeline with a DDIMScheduler.
    """
    if tuple(x_T.shape[1:]) != model.sample_shape or len(x_T) != len(conditioning):
        raise UsageError(
            f"`x_T` must have shape ({len(conditioning)}, {model.sample_shape}), one row for each prompt, "
            f"got {tuple(x_T.shape)}."
        )
    path = model.schedule.sampling_path(steps, spacing)
    x = x_T.to(device=model.device, dtype=model.dtype)
    for index, (t, source, target) in enumerate(path):
        eps_u, eps_c = predict_pair(model, x, t, conditioning, unconditional)
        scale = guidance_scale if isinstance(guidance_scale, (int, float)) else guidance_scale(t, eps_u, eps_c)
        after = ddim_step(x, eps_u + scale * (eps_c - eps_u), source, target)
        yield GuidedStep(index, t, x, eps_u, eps_c, after)
        x = after
