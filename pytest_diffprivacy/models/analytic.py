"""Which models have exact answers? A density with a closed-form score, worn as a model with every level of access.

Each attack, score and bound of this project is tested on them: no training, no download.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_sample
from pytest_diffprivacy.models.densities import Density, FiniteData
from pytest_diffprivacy.models.derivatives import forward_jvp
from pytest_diffprivacy.models.identity import ModelIdentity, weights_digest
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.models.schedule import NoiseSchedule


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
        arrays = {"alphas": self.schedule.alphas, "sigmas": self.schedule.sigmas}
        tensors = density.tensors() | {key: torch.from_numpy(value) for key, value in arrays.items()}
        digest = weights_digest(tensors.items(), {"image_shape": image_shape})
        family = f"analytic {type(density).__name__}"
        self.identity = ModelIdentity(name, family, digest, 0, "float64", "cpu", "white box")

    def score(self, x_t: Tensor, timestep: int) -> Tensor:
        """Closed-form score grad log p_t at x_t, same shape as x_t."""
        return self.density.score(x_t.double().flatten(1), *self.schedule.at(timestep)).reshape(x_t.shape)

    def hessian(self, x_t: Tensor, timestep: int) -> Tensor:
        """Closed-form Hessian of log p_t at x_t: (n, d, d)."""
        return self.density.hessian(x_t.double().flatten(1), *self.schedule.at(timestep))

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The exact noise prediction -sigma * score."""
        return -self.schedule.at(timestep)[1] * self.score(x_t, timestep)

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and J_eps @ tangent by forward-mode differentiation of the closed-form score."""
        return forward_jvp(lambda x: self.predict_eps(x, timestep), x_t, tangent)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Nothing is trained."""
        return iter(())

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning | None:
        """An analytic model takes no prompts.

        Raises:
            ModelError: prompts were given.
        """
        if prompts is not None:
            raise ModelError(
                f"{self.identity.name} is unconditional, but {len(prompts)} prompts were given. Leave prompts out."
            )
        return None

    def encode(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] to [-1, 1]."""
        return images.double() * 2.0 - 1.0

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels in [-1, 1] to [0, 1], clamped."""
        return ((x0 + 1.0) / 2.0).clamp(0.0, 1.0)

    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """DDIM samples in [0, 1], one a seed."""
        self.condition(prompts, len(seeds))
        return self.decode(ddim_sample(self, start_noise(seeds, self.sample_shape), steps=steps))


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
