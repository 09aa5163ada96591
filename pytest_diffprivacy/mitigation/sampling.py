"""How do a mitigation's start noise and conditioning become images? Deterministic guided DDIM, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.mitigation.method import Cost, Mitigated, Sampling
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import GuidanceRule, ddim_sample, guided_ddim, predict_pair
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.protocols import PromptedDenoiser
from pytest_diffprivacy.statistics.arguments import check_finite

Difference = Callable[[Tensor], Tensor]


def prompt_conditioning(model: PromptedDenoiser, prompts: Sequence[str]) -> Conditioning:
    """The conditioning of texts, one a row.

    Raises:
        UsageError: no prompts, or an empty one, for which there is nothing to mitigate.
    """
    if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise UsageError(f"`prompts` must be texts that are not empty, got {list(prompts)!r}.")
    conditioning = model.condition(list(prompts), len(prompts))
    assert conditioning is not None, "a text-to-image model has a conditioning for a text"
    return conditioning


def seeded_noise(model: PromptedDenoiser, seeds: Sequence[int]) -> Tensor:
    """x_T of the seeds, as the model's own generations have it, on its device in its precision."""
    return start_noise(seeds, model.sample_shape).to(device=model.device, dtype=model.dtype)


def first_timestep(model: PromptedDenoiser, sampling: Sampling) -> int:
    """The timestep at which sampling starts."""
    return model.schedule.sampling_timesteps(sampling.steps)[0]


def eps_difference(model: PromptedDenoiser, timestep: int, conditioning: Conditioning) -> Difference:
    """The function x -> eps_c - eps_u at a timestep for rows of the one given row of conditioning; differentiable."""

    def difference(x: Tensor) -> Tensor:
        eps_u, eps_c = predict_pair(model, x, timestep, conditioning.repeated(len(x)), None)
        return eps_c - eps_u

    return difference


@torch.no_grad()
def sample_images(
    model: PromptedDenoiser,
    x_T: Tensor,
    conditioning: Conditioning,
    sampling: Sampling,
    *,
    rule: GuidanceRule | None = None,
    pairs: bool = False,
) -> Mitigated:
    """Images from start noise, and what they cost.

    Args:
        model: the text-to-image model.
        x_T: (n, *model.sample_shape).
        conditioning: n rows.
        sampling: steps and guidance.
        rule: guidance that changes on the way; replaces the guidance scale.
        pairs: evaluate the unconditional branch even where guidance 1 does not need it (attention edits count rows).
    """
    count, scale = len(x_T), sampling.guidance_scale
    if rule is None and not pairs and scale == 1.0:
        x = ddim_sample(model, x_T, steps=sampling.steps, conditioning=conditioning)
        return Mitigated(model.decode(x), Cost(evaluations=count * sampling.steps))
    x = x_T
    for step in guided_ddim(model, x_T, conditioning, steps=sampling.steps, guidance_scale=rule or scale):
        x = step.x_next
    return Mitigated(model.decode(x), Cost(evaluations=2 * count * sampling.steps))


def check_positive(name: str, value: Any) -> None:
    """Refuse by name a parameter that is no finite number above 0."""
    if not check_finite(name, value) > 0.0:
        raise UsageError(f"`{name}` must be above 0, got {value!r}.")
