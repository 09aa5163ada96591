"""AnalyticDenoiser and AnalyticPrompts: densities with a closed-form score as models with every level of access.

Each attack, score and bound of this project is tested on them: no training, no download.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.codec import PixelCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_sample, guided_ddim
from pytest_diffprivacy.models.denoising_network import exact_part
from pytest_diffprivacy.models.densities import Density, FiniteData
from pytest_diffprivacy.models.identity import ModelIdentity, weights_digest
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.protocols import Prompt, Prompts
from pytest_diffprivacy.models.schedule import NoiseSchedule

WHICH = "density"


@final
class AnalyticDenoiser:
    """The exact diffusion model of a density; satisfies Generator, Denoiser and WhiteBoxDenoiser in float64 on the CPU.

    Args:
        density: the law of x0 in model space, over flattened pixels.
        image_shape: (channels, height, width), whose product is the density's dimension.
        schedule: noise schedule; the papers' linear one by default.
        name: what records call it.
    """

    def __init__(
        self,
        density: Density,
        image_shape: tuple[int, int, int],
        *,
        schedule: NoiseSchedule | None = None,
        name: str = "analytic model",
    ) -> None:
        channels, height, width = image_shape
        if channels * height * width != density.dimension:
            raise UsageError(f"`image_shape` must hold {density.dimension} pixels, got {image_shape!r}.")
        self.density = density
        self.schedule = schedule or NoiseSchedule.linear()
        self.image_shape = image_shape
        self.sample_shape: tuple[int, ...] = image_shape
        self.device, self.dtype = torch.device("cpu"), torch.float64
        codec = PixelCodec(image_shape, self.device, self.dtype)
        part = exact_part(self._eps, self.condition, self.schedule, codec)
        self.predict_eps, self.eps_jvp, self.named_parameters = part.predict_eps, part.eps_jvp, part.named_parameters
        self.encode, self.decode = part.codec.encode, part.codec.decode
        tensors = density.tensors() | self.schedule.tensors()
        digest = weights_digest(tensors.items(), {"image_shape": image_shape})
        family = f"analytic {type(density).__name__}"
        self.identity = ModelIdentity(name, family, digest, 0, "float64", "cpu", "white box")

    def score(self, x_t: Tensor, timestep: int) -> Tensor:
        """Closed-form score grad log p_t at x_t, same shape as x_t."""
        return self.density.score(x_t.double().flatten(1), *self.schedule.at(timestep)).reshape(x_t.shape)

    def hessian(self, x_t: Tensor, timestep: int) -> Tensor:
        """Closed-form Hessian of log p_t at x_t: (n, d, d)."""
        return self.density.hessian(x_t.double().flatten(1), *self.schedule.at(timestep))

    def condition(self, prompts: Prompts, count: int) -> Conditioning | None:
        """An analytic model takes no prompts.

        Raises:
            ModelError: prompts were given.
        """
        if prompts is not None:
            raise ModelError(
                f"{self.identity.name} is unconditional, but {len(prompts)} prompts were given. Leave prompts out."
            )
        return None

    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
    ) -> Tensor:
        """DDIM samples in [0, 1], one a seed."""
        self.condition(prompts, len(seeds))
        return self.decode(ddim_sample(self, start_noise(seeds, self.sample_shape), steps=steps))

    def _eps(self, x_t: Tensor, timestep: float, conditioning: Conditioning | None) -> Tensor:
        """-sigma * score."""
        return -self.schedule.at(int(timestep))[1] * self.score(x_t, int(timestep))


def ideal_denoiser(
    images: Tensor,
    repetitions: Tensor | None = None,
    *,
    schedule: NoiseSchedule | None = None,
    name: str = "ideal denoiser",
) -> AnalyticDenoiser:
    """The exact denoiser of a finite data set: the model with perfect memory.

    Args:
        images: (n, channels, height, width) in [0, 1].
        repetitions: (n,) how often each image occurs; None: once.
        schedule: noise schedule; the papers' linear one by default.
        name: what records call it.

    Source: Implements METHODS 8.1.
    """
    if images.ndim != 4:
        raise UsageError(f"`images` must be (n, c, h, w), got {tuple(images.shape)}.")
    density = FiniteData((images.double() * 2.0 - 1.0).flatten(1), repetitions)
    return AnalyticDenoiser(density, (images.shape[1], images.shape[2], images.shape[3]), schedule=schedule, name=name)


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
        codec = PixelCodec(self.image_shape, self.device, self.dtype)
        part = exact_part(self._eps, self.condition, self.schedule, codec)
        self.predict_eps, self.eps_jvp, self.named_parameters = part.predict_eps, part.eps_jvp, part.named_parameters
        self.encode, self.decode = part.codec.encode, part.codec.decode
        self.token_limit = 77
        parts = {"": unconditional} | dict(prompts)
        digest = weights_digest((), {prompt: model.identity.digest for prompt, model in parts.items()})
        self.identity = ModelIdentity(name, "analytic prompts", digest, 0, "float64", "cpu", "white box")

    def condition(self, prompts: Prompts, count: int) -> Conditioning:
        """Which density each row has; no prompts, or an empty one: the unconditional density.

        Raises:
            ModelError: a prompt that the model does not know, or another number of prompts.
        """
        texts = [""] * count if prompts is None else list(prompts)
        unknown = [p for p in texts if p != "" and p not in self._places]
        if unknown or len(texts) != count:
            raise ModelError(
                f"`prompts` must be {count} of {', '.join(self._places)}, got {len(texts)}"
                + (f" with {unknown[0]!r} among them." if unknown else ".")
            )
        return Conditioning({WHICH: torch.tensor([0 if p == "" else self._places[str(p)] for p in texts])})

    def token_counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Words and two ends."""
        return [len(str(prompt).split()) + 2 for prompt in prompts]

    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
    ) -> Tensor:
        """Guided DDIM samples in [0, 1], one a seed."""
        conditioning = self.condition(prompts, len(seeds))
        x = start_noise(seeds, self.sample_shape)
        for step in guided_ddim(self, x, conditioning, steps=steps, guidance_scale=guidance_scale):
            x = step.x_next
        return self.decode(x)

    def _eps(self, x_t: Tensor, timestep: float, conditioning: Conditioning | None) -> Tensor:
        """The exact noise prediction of each row's density."""
        assert conditioning is not None, "no prompt is a density, too"
        which = conditioning[WHICH]
        eps = torch.zeros_like(x_t)
        for place in sorted(set(which.tolist())):
            chosen = (which == place).reshape(-1, *[1] * len(self.sample_shape))
            eps = eps + torch.where(chosen, self._models[place].predict_eps(x_t, int(timestep)), 0.0)
        return eps
