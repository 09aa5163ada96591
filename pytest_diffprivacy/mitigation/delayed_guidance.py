"""Delayed guidance: the prompt is left alone until sampling has left the region that draws it into a memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Mitigated,
    Mitigation,
    MitigationCard,
    SamplingCost,
    card_of,
    check_settings,
    mitigation,
    sample_prompt,
)
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted

SOURCE = "Jain et al. 2025"


@mitigation("delayed", "Delayed guidance (Jain)", access=Access.GREY_BOX, source=SOURCE, version=1)
@final
@dataclass(frozen=True, slots=True)
class DelayedGuidance(Mitigation):
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
        check_settings(self, finite=("before",), counts={"until": 0})

    @classmethod
    def opposite(cls) -> DelayedGuidance:
        """Away from the prompt (scale -2) until timestep 650."""
        return cls(until=650, before=-2.0)

    @property
    def card(self) -> MitigationCard:
        """What a record says of it: opposite guidance where the prompt is avoided at first."""
        card = card_of(self)
        return replace(card, name="opposite", title="Opposite guidance (Jain)") if self.before < 0.0 else card

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone."""
        denoiser = require_prompted(model, "Delayed guidance")
        denoiser.schedule.check(self.until, "until")

        def scale(timestep: int, eps_u: Tensor, eps_c: Tensor) -> float:
            return self.before if timestep > self.until else sampling.guidance_scale

        return sample_prompt(denoiser, prompt, seeds, sampling, rule=scale)


@mitigation("dynamic", "Delayed guidance, dynamic (Jain)", access=Access.GREY_BOX, source=SOURCE, version=1)
@final
@dataclass(frozen=True, slots=True)
class DynamicGuidance(Mitigation):
    """Guidance sets in at the first local minimum over steps of `|| eps_u - eps_c ||_2`, for each image on its own.

    An image without a minimum is never guided; its cost says that the method did not reach its target.

    Args:
        before: guidance scale until then.

    Source: Implements the dynamic transition of Jain et al. 2025 (METHODS 5.5).
    """

    before: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self, finite=("before",))

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone."""
        denoiser = require_prompted(model, "Delayed guidance")
        transition = TransitionPoint(len(seeds), before=self.before, after=sampling.guidance_scale)
        found = sample_prompt(denoiser, prompt, seeds, sampling, rule=transition)
        return Mitigated(found.images, found.cost + SamplingCost(over_budget=int((~transition.passed).sum())))


@final
class TransitionPoint:
    """The guidance rule of the dynamic transition: n_{i-1} is the minimum once n_i > n_{i-1} and n_{i-2} > n_{i-1}."""

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
