"""Sampling of a prompt's images from start noise: deterministic guided DDIM, counted; without mitigation, as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.mitigation.method import DdimSampling, Mitigated, Mitigation, MitigationCard, SamplingCost
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import GuidanceRule, ddim_sample, guided_ddim, predict_pair
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted

Difference = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, slots=True)
class Unmitigated(Mitigation):
    """Plain guided sampling from the same seeds: the side that every mitigation is compared with.

    Source: Implements Ho and Salimans 2022 (classifier-free guidance) with DDIM.
    """

    @property
    def card(self) -> MitigationCard:
        """What a record says of it."""
        return MitigationCard("none", "Original", Access.GREY_BOX, "DDIM with classifier-free guidance", {}, 1)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt, one a seed."""
        return sample_prompt(require_prompted(model, "Sampling a prompt"), prompt, seeds, sampling)


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


def first_timestep(model: PromptedDenoiser, sampling: DdimSampling) -> int:
    """The timestep at which sampling starts."""
    return model.schedule.sampling_timesteps(sampling.steps)[0]


def eps_difference(model: PromptedDenoiser, timestep: int, conditioning: Conditioning) -> Difference:
    """The function x -> eps_c - eps_u at a timestep for rows of the one given row of conditioning; differentiable."""

    def difference(x: Tensor) -> Tensor:
        eps_u, eps_c = predict_pair(model, x, timestep, conditioning.repeated(len(x)), None)
        return eps_c - eps_u

    return difference


def sample_prompt(
    model: PromptedDenoiser,
    prompts: str | Sequence[str],
    seeds: Sequence[int],
    sampling: DdimSampling,
    *,
    rule: GuidanceRule | None = None,
    pairs: bool = False,
) -> Mitigated:
    """Images of a prompt, or of one prompt a seed, from the noise of the seeds; see `sample_images`."""
    texts = [prompts] * len(seeds) if isinstance(prompts, str) else prompts
    conditioning = prompt_conditioning(model, texts)
    return sample_images(model, seeded_noise(model, seeds), conditioning, sampling, rule=rule, pairs=pairs)


@torch.no_grad()
def sample_images(
    model: PromptedDenoiser,
    x_T: Tensor,
    conditioning: Conditioning,
    sampling: DdimSampling,
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
        return Mitigated(model.decode(x), SamplingCost(evaluations=count * sampling.steps))
    x = x_T
    for step in guided_ddim(model, x_T, conditioning, steps=sampling.steps, guidance_scale=rule or scale):
        x = step.x_next
    return Mitigated(model.decode(x), SamplingCost(evaluations=2 * count * sampling.steps))
