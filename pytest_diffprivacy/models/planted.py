"""Planted leaks: models with perfect memory of planted images, or of planted prompts, in place of the one under audit.

They have the audited model's schedule, shapes, device and precision, so that an attack or detector runs through the
same code with the same parameters; only their answers are exact. One that does not find what was planted is too weak,
or broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.denoising_network import exact_part
from pytest_diffprivacy.models.densities import FiniteData, PeakedPopulation
from pytest_diffprivacy.models.identity import ModelIdentity, weights_digest
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, PromptedDenoiser, Prompts, require_latent

LEAK_VERSION: Final = 2
PROMPTS_VERSION: Final = 1
VARIANCE: Final = 0.25
"""Of the pictures' values in [-1, 1]."""
ORDINARY: Final = 0.01
"""Share of that variance which a prompt that is not memorized explains."""


@final
class PlantedLeak:
    """The ideal denoiser of planted images in the place of a network; satisfies Denoiser.

    Args:
        model: the model under audit, which gives schedule, shapes, encoder, device and precision; it predicts
            nothing.
        images: (n, channels, height, width) in [0, 1], n >= 2, the planted ones.
        prompted: whether it remembers only when a prompt is given, as a text-to-image model does; without one it then
            knows no more than a Gaussian of the planted images' mean and variance.
        least_timestep: where memory begins: below this timestep of the schedule the model knows a population only, and
            from there on the planted images in it. None: it is the ideal denoiser of the planted images everywhere.

    Source: Implements METHODS 8.1, as the full leak of 8.4; with `least_timestep` 8.2, since the answers
    below an attack's timestep would hide that at its timestep nothing is to be found.
    """

    def __init__(
        self, model: Denoiser, images: Tensor, *, prompted: bool = False, least_timestep: int | None = None
    ) -> None:
        self._model, self._prompted, self._least = model, prompted, least_timestep
        x0 = model.encode(images).detach().double().cpu().flatten(1)
        self._memory = FiniteData(x0)
        self._peaked = None if least_timestep is None else PeakedPopulation(x0)
        self._mean, self._variance = x0.mean(0), x0.var(0)
        self.schedule, self.device, self.dtype = model.schedule, model.device, model.dtype
        self.sample_shape, self.image_shape = model.sample_shape, model.image_shape
        self.encode, self.decode = model.encode, model.decode
        tensors = {"planted": x0} | self.schedule.tensors()
        facts = {"prompted": prompted, "least": least_timestep, "shape": self.sample_shape, "version": LEAK_VERSION}
        digest = weights_digest(tensors.items(), facts)
        own = model.identity
        self.identity = ModelIdentity("planted leak", "ideal denoiser", digest, 0, own.dtype, own.device, "grey box")

    @torch.no_grad()
    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The exact noise prediction -sigma * score, computed in float64."""
        alpha, sigma = self.schedule.at(timestep)
        x = x_t.detach().double().cpu().flatten(1)
        if self._prompted and conditioning is None:
            score = (alpha * self._mean - x) / (alpha**2 * self._variance + sigma**2)
        elif self._peaked is not None and self._least is not None:
            known = self._peaked.score if timestep >= self._least else self._peaked.population_score
            score = known(x, alpha, sigma)
        else:
            score = self._memory.score(x, alpha, sigma)
        return (-sigma * score).reshape(x_t.shape).to(device=x_t.device, dtype=x_t.dtype)

    def condition(self, prompts: Prompts, count: int) -> Conditioning | None:
        """Whether there are prompts; which they are does not matter to a memory that knows every planted image."""
        return None if prompts is None else Conditioning({"prompted": torch.ones(count)})

    def decoder_products(self, x0: Tensor, cotangents: Tensor) -> Tensor:
        """Those of the model's decoder, if it has one."""
        return require_latent(self._model, "The decoder").decoder_products(x0, cotangents)

    def autoencoder_digest(self) -> str:
        """That of the model's autoencoder, if it has one."""
        return require_latent(self._model, "The decoder").autoencoder_digest()


@final
class PlantedGenerator:
    """Gives planted images back for their prompts, and for any other prompt one of them; satisfies Generator.

    Args:
        images: (n, channels, height, width) in [0, 1], n >= 1.
        prompts: one an image; where several images have one prompt, the seed chooses.

    Source: ours.
    """

    def __init__(self, images: NDArray[np.float32], prompts: Sequence[Prompt]) -> None:
        self._images = torch.from_numpy(np.array(images, dtype=np.float32))
        self._places: dict[Prompt, list[int]] = {}
        for place, prompt in enumerate(prompts):
            self._places.setdefault(prompt, []).append(place)
        digest = weights_digest([("planted", self._images)], {"prompts": [str(p) for p in prompts], "version": 1})
        self.identity = ModelIdentity("planted generator", "generator", digest, 0, "float32", "cpu", "black box")

    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
    ) -> Tensor:
        """Images (n, channels, height, width) in [0, 1]."""
        told: list[Prompt] = [""] * len(seeds) if prompts is None else list(prompts)
        everything = list(range(len(self._images)))
        found = [self._places.get(prompt, everything) for prompt in told]
        return self._images[[places[seed % len(places)] for places, seed in zip(found, seeds, strict=True)]]


@final
class PlantedPrompts:
    """Exact answers to prompts that explain everything and prompts that explain little; a white-box PromptedDenoiser.

    Without a prompt a picture is x0 ~ N(0, v I). A prompt tells a part m ~ N(0, r v I) of it, so that its own law is
    N(m, (1 - r) v I): r = 1 is a memorized prompt, which always brings back m.

    Args:
        model: the model under audit, which gives schedule, shapes, device, precision and token limit; it is never
            evaluated, not even to decode.
        count: planted prompts, and as many others.

    Source: Implements METHODS 8.2, of which each prompt is one component with an isotropic covariance.
    """

    def __init__(self, model: PromptedDenoiser, count: int) -> None:
        self.schedule, self.device, self.dtype = model.schedule, model.device, model.dtype
        self.sample_shape, self.image_shape = model.sample_shape, model.image_shape
        self.token_limit = model.token_limit
        codec = _AveragedPixels(self.image_shape, self.sample_shape)
        part = exact_part(self._eps, self.condition, self.schedule, codec)
        self.predict_eps, self.eps_jvp, self.named_parameters = part.predict_eps, part.eps_jvp, part.named_parameters
        self.encode, self.decode = part.codec.encode, part.codec.decode
        self.planted = [f"planted prompt {number}" for number in range(count)]
        self.others = [f"other prompt {number}" for number in range(count)]
        shares = torch.tensor([0.0] + [1.0] * count + [ORDINARY] * count, dtype=torch.float64)
        drawn = torch.from_numpy(np.random.default_rng(0).standard_normal((len(shares), *self.sample_shape)))
        self._means = drawn * self._column(VARIANCE * shares).sqrt()
        self._variances = VARIANCE * (1.0 - shares)
        self._places = {prompt: place for place, prompt in enumerate(["", *self.planted, *self.others])}
        tensors = {"means": self._means} | self.schedule.tensors()
        digest = weights_digest(
            tensors.items(), {"count": count, "images": self.image_shape, "version": PROMPTS_VERSION}
        )
        own = model.identity
        self.identity = ModelIdentity("planted prompts", "exact prompts", digest, 0, own.dtype, own.device, "white box")

    def condition(self, prompts: Prompts, count: int) -> Conditioning:
        """Which prompt each row has; None: no row has one."""
        texts = [""] * count if prompts is None else [str(prompt) for prompt in prompts]
        return Conditioning({"prompt": torch.tensor([self._places[prompt] for prompt in texts])})

    def token_counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Words and two ends, as many as the encoder takes."""
        return [min(len(str(prompt).split()) + 2, self.token_limit) for prompt in prompts]

    def _eps(self, x_t: Tensor, timestep: float, conditioning: Conditioning | None) -> Tensor:
        """The exact noise prediction sigma (x - alpha m) / (alpha^2 (1 - r) v + sigma^2), computed in float64."""
        assert conditioning is not None, "no prompt is one of them"
        alpha, sigma = self.schedule.at(int(timestep))
        which = conditioning["prompt"].cpu()
        variance = self._column(alpha**2 * self._variances[which] + sigma**2)
        eps = sigma * (x_t.double().cpu() - alpha * self._means[which]) / variance
        return eps.to(device=x_t.device, dtype=x_t.dtype)

    def _column(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *[1] * len(self.sample_shape))


@final
@dataclass(frozen=True, slots=True)
class _AveragedPixels:
    """Between images in [0, 1] and averages of their pixels in [-1, 1], in the shape of a model's x_t."""

    image_shape: tuple[int, int, int]
    sample_shape: tuple[int, ...]

    def encode(self, images: Tensor) -> Tensor:
        """Averaged down to the sample's shape where it is another one."""
        if self.image_shape != self.sample_shape:
            channels, height, width = self.sample_shape
            images = adaptive_avg_pool2d(images, (height, width)).mean(1, keepdim=True).expand(-1, channels, -1, -1)
        return images * 2.0 - 1.0

    def decode(self, x0: Tensor) -> Tensor:
        """Clamped, and enlarged to the image's shape where it is another one."""
        pixels = ((x0 + 1.0) / 2.0).clamp(0.0, 1.0)
        if self.image_shape == self.sample_shape:
            return pixels
        channels, height, width = self.image_shape
        return interpolate(pixels.mean(1, keepdim=True), size=(height, width)).expand(-1, channels, -1, -1)
