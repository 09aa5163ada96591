"""Delayed guidance: leave the prompt alone until sampling has left the region that draws it into a memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.mitigation.method import Cost, Mitigated, MitigationCard, Sampling, parameters_of
from pytest_diffprivacy.mitigation.sampling import prompt_conditioning, sample_images, seeded_noise
from pytest_diffprivacy.models.ddim import GuidanceRule
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted
from pytest_diffprivacy.statistics.arguments import check_count, check_finite

SOURCE = "Jain et al. 2025"


@final
@dataclass(frozen=True, slots=True)
class DelayedGuidance:
    """Another guidance scale down to a timestep, the usual one from there on.

    Args:
        until: the model's own timestep at which guidance sets in.
        before: guidance scale until then. 1, the published code's value for "no guidance", is still the prompt's own
            prediction; with -2 and `until` 650 this is the published opposite guidance.

    Source: Implements the static transition and opposite guidance of Jain et al. 2025 (METHODS 5.5).
    """

    until: int = 500
    before: float = 1.0

    def __post_init__(self) -> None:
        check_count("until", self.until, least=0)
        check_finite("before", self.before)

    @classmethod
    def opposite(cls) -> DelayedGuidance:
        """Away from the prompt (scale -2) until timestep 650."""
        return cls(until=650, before=-2.0)

    @property
    def card(self) -> MitigationCard:
        """What a record says of it."""
        opposite = self.before < 0.0
        name, title = ("opposite", "Opposite guidance") if opposite else ("delayed", "Delayed guidance")
        return MitigationCard(name, f"{title} (Jain)", "grey box", SOURCE, parameters_of(self), 1)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: Sampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone.

        Raises:
            ModelError: the model takes no texts.
            UsageError: an empty prompt, or a timestep outside the schedule.
        """
        denoiser = require_prompted(model, "Delayed guidance")
        denoiser.schedule.check(self.until, "until")

        def scale(timestep: int, eps_u: Tensor, eps_c: Tensor) -> float:
            return self.before if timestep > self.until else sampling.guidance_scale

        return _guided(denoiser, prompt, seeds, sampling, scale)


@final
@dataclass(frozen=True, slots=True)
class DynamicGuidance:
    """Guidance sets in at the first local minimum over steps of `|| eps_u - eps_c ||_2`, for each image on its own.

    An image without a minimum is never guided; its cost says that the method did not reach its target.

    Args:
        before: guidance scale until then.

    Source: Implements the dynamic transition of Jain et al. 2025 (METHODS 5.5).
    """

    before: float = 1.0

    def __post_init__(self) -> None:
        check_finite("before", self.before)

    @property
    def card(self) -> MitigationCard:
        """What a record says of it."""
        title = "Delayed guidance, dynamic (Jain)"
        return MitigationCard("dynamic", title, "grey box", SOURCE, parameters_of(self), 1)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: Sampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone.

        Raises:
            ModelError: the model takes no texts.
            UsageError: an empty prompt.
        """
        denoiser = require_prompted(model, "Delayed guidance")
        transition = TransitionPoint(len(seeds), before=self.before, after=sampling.guidance_scale)
        found = _guided(denoiser, prompt, seeds, sampling, transition)
        return Mitigated(found.images, found.cost + Cost(over_budget=int((~transition.passed).sum())))


@final
class TransitionPoint:
    """The guidance rule of the dynamic transition: n_{i-1} is the minimum once n_i > n_{i-1} and n_{i-2} > n_{i-1}.

    Args:
        images: how many are sampled together.
        before: guidance scale until the minimum has been seen.
        after: guidance scale from then on.
    """

    def __init__(self, images: int, *, before: float, after: float) -> None:
        self._before, self._after = before, after
        self._norms: list[Tensor] = []
        self.passed = torch.zeros(images, dtype=torch.bool)

    def __call__(self, timestep: int, eps_u: Tensor, eps_c: Tensor) -> Tensor:
        """The scale of each image, (images, 1, 1, 1)."""
        self._norms.append(torch.linalg.vector_norm((eps_u - eps_c).flatten(1), dim=1))
        if len(self._norms) >= 3:
            earlier, last, now = self._norms[-3:]
            self.passed = self.passed.to(now.device) | ((now > last) & (earlier > last))
        scales = torch.where(self.passed.to(eps_u.device), self._after, self._before).to(eps_u.dtype)
        return scales.reshape(-1, *[1] * (eps_u.ndim - 1))


def _guided(
    model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: Sampling, rule: GuidanceRule
) -> Mitigated:
    conditioning = prompt_conditioning(model, [prompt] * len(seeds))
    return sample_images(model, seeded_noise(model, seeds), conditioning, sampling, rule=rule)
