"""How does a prompt steer an image from noise? Deterministic DDIM under classifier-free guidance, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_step
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import Spacing

GuidanceRule: TypeAlias = Callable[[int, Tensor, Tensor], float | Tensor]


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
    schedule = model.schedule
    times = schedule.sampling_timesteps(steps, spacing=spacing)
    ends = [schedule.at(t) for t in times[1:]] + [schedule.final]
    x = x_T.to(device=model.device, dtype=model.dtype)
    for index, (t, target) in enumerate(zip(times, ends, strict=True)):
        eps_u, eps_c = predict_pair(model, x, t, conditioning, unconditional)
        scale = guidance_scale if isinstance(guidance_scale, (int, float)) else guidance_scale(t, eps_u, eps_c)
        after = ddim_step(x, eps_u + scale * (eps_c - eps_u), schedule.at(t), target)
        yield GuidedStep(index, t, x, eps_u, eps_c, after)
        x = after
