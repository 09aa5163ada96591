"""Which model is known to leak? One with perfect memory of planted images, worn over the model under audit.

It has the audited model's schedule, shape, encoder, device and precision, so that an attack runs through the same code
with the same parameters; only its answers are exact. An attack that does not find these images is too weak, or broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.densities import FiniteData
from pytest_diffprivacy.models.identity import ModelIdentity, weights_digest
from pytest_diffprivacy.models.peaked import PeakedPopulation
from pytest_diffprivacy.models.protocols import Denoiser, Prompt

VERSION = 2


@final
class PlantedLeak:
    """The ideal denoiser of planted images in the place of a network; satisfies Denoiser.

    Args:
        model: the model under audit, which gives schedule, shapes, encoder, device and precision; it is never asked for
            a prediction.
        images: (n, channels, height, width) in [0, 1], n >= 2, the planted ones.
        prompted: whether it remembers only when it is told a prompt, as a text-to-image model does; without one it then
            knows no more than a Gaussian of the planted images' mean and variance.
        least_timestep: where memory begins: below this timestep of the schedule the model knows a population only, and
            from there on the planted images in it. None: it is the ideal denoiser of the planted images everywhere.

    Source: Implements METHODS 8.1, as the full leak of 8.4; with `least_timestep` 8.2, since what an attack is told
    below its timestep would hide that at its timestep nothing is to be found.
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
        arrays = {"alphas": self.schedule.alphas, "sigmas": self.schedule.sigmas}
        tensors = {"planted": x0} | {key: torch.from_numpy(value) for key, value in arrays.items()}
        facts = {"prompted": prompted, "least": least_timestep, "shape": self.sample_shape, "version": VERSION}
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

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning | None:
        """Whether there are prompts; which they are does not matter to a memory that knows every planted image."""
        return None if prompts is None else Conditioning({"prompted": torch.ones(count)})

    def encode(self, images: Tensor) -> Tensor:
        """As the model under audit does."""
        return self._model.encode(images)

    def decode(self, x0: Tensor) -> Tensor:
        """As the model under audit does."""
        return self._model.decode(x0)
