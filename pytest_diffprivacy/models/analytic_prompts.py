"""Which text-to-image models have exact answers? One density without a prompt, and another for each prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.analytic import AnalyticDenoiser
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.derivatives import forward_jvp
from pytest_diffprivacy.models.guidance import guided_ddim
from pytest_diffprivacy.models.identity import ModelIdentity, weights_digest
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.protocols import Prompt

WHICH = "density"


@final
class AnalyticPrompts:
    """An exact text-to-image model in float64; satisfies Generator, WhiteBoxDenoiser and PromptedDenoiser.

    Args:
        unconditional: what the model generates without a prompt.
        prompts: what it generates for each prompt it knows, of the same shape on the same schedule.
        name: what records call it.

    Source: Implements METHODS 8.2: a prompt is a second mixture, so s_Delta and H_Delta s_Delta are closed forms.
    """

    def __init__(
        self,
        unconditional: AnalyticDenoiser,
        prompts: Mapping[str, AnalyticDenoiser],
        *,
        name: str = "analytic prompts",
    ) -> None:
        for prompt, model in prompts.items():
            if model.image_shape != unconditional.image_shape or len(model.schedule) != len(unconditional.schedule):
                raise UsageError(
                    f"`prompts` must have the unconditional model's shape {unconditional.image_shape} and schedule, "
                    f"got {model.image_shape} for {prompt!r}."
                )
        self._models = [unconditional, *prompts.values()]
        self._places = {prompt: place for place, prompt in enumerate(prompts, start=1)}
        self.schedule = unconditional.schedule
        self.image_shape, self.sample_shape = unconditional.image_shape, unconditional.sample_shape
        self.device, self.dtype = torch.device("cpu"), torch.float64
        self.token_limit = 77
        parts = {"": unconditional} | dict(prompts)
        digest = weights_digest((), {prompt: model.identity.digest for prompt, model in parts.items()})
        self.identity = ModelIdentity(name, "analytic prompts", digest, 0, "float64", "cpu", "white box")

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The exact noise prediction of each row's density."""
        told = self.condition(None, len(x_t)) if conditioning is None else conditioning
        which = told[WHICH]
        eps = torch.zeros_like(x_t)
        for place in sorted(set(which.tolist())):
            chosen = (which == place).reshape(-1, *[1] * len(self.sample_shape))
            eps = eps + torch.where(chosen, self._models[place].predict_eps(x_t, timestep), 0.0)
        return eps

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and J_eps @ tangent by forward-mode differentiation of the closed-form scores."""
        return forward_jvp(lambda x: self.predict_eps(x, timestep, conditioning), x_t, tangent)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Nothing is trained."""
        return iter(())

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning:
        """Which density each row has; no prompts, or an empty one: the unconditional density.

        Raises:
            ModelError: a prompt that the model does not know, or another number of prompts.
        """
        asked = [""] * count if prompts is None else list(prompts)
        unknown = [p for p in asked if p != "" and p not in self._places]
        if unknown or len(asked) != count:
            raise ModelError(
                f"`prompts` must be {count} of {', '.join(self._places)}, got {len(asked)}"
                + (f" with {unknown[0]!r} among them." if unknown else ".")
            )
        return Conditioning({WHICH: torch.tensor([0 if p == "" else self._places[str(p)] for p in asked])})

    def token_counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Words and two ends."""
        return [len(str(prompt).split()) + 2 for prompt in prompts]

    def encode(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] to [-1, 1]."""
        return self._models[0].encode(images)

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels in [-1, 1] to [0, 1], clamped."""
        return self._models[0].decode(x0)

    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """Guided DDIM samples in [0, 1], one a seed."""
        conditioning = self.condition(prompts, len(seeds))
        x = start_noise(seeds, self.sample_shape)
        for step in guided_ddim(self, x, conditioning, steps=steps, guidance_scale=guidance_scale):
            x = step.x_next
        return self.decode(x)
