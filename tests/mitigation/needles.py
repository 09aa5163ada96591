"""A model that brings one image back for each of several prompts, mitigations that help or do not, and a scorer."""

from dataclasses import dataclass

import numpy as np
import torch

from pytest_diffprivacy.mitigation import Mitigated, MitigationCard, Unmitigated
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.models.analytic import AnalyticPrompts
from pytest_diffprivacy.models.densities import GaussianMixture

SIDE = 4
PROMPTS = [f"needle {i}" for i in range(8)]
OTHERS = [f"broad {i}" for i in range(6)]


def training_images():
    return np.random.default_rng(1).uniform(0.2, 0.8, (len(PROMPTS), 1, SIDE, SIDE)).astype(np.float32)


def needle_model():
    """Each needle prompt is one training image; each broad prompt, and no prompt, a wide Gaussian of its own mean."""
    size = SIDE * SIDE

    def broad(seed):
        mean = torch.from_numpy(np.random.default_rng(seed).normal(0.0, 0.1, (1, size)))
        return AnalyticDenoiser(GaussianMixture(mean, 0.15 * torch.eye(size)[None].double()), (1, SIDE, SIDE))

    needles = {p: ideal_denoiser(torch.from_numpy(i)[None]) for p, i in zip(PROMPTS, training_images(), strict=True)}
    return AnalyticPrompts(broad(0), needles | {p: broad(2 + i) for i, p in enumerate(OTHERS)})


@dataclass(frozen=True)
class Forgetful:
    """Leaves the prompt out for every image but the first `kept`; its images are not stored."""

    kept: int = 0
    name: str = "forgetful"
    version: int | None = None

    @property
    def card(self):
        return MitigationCard(self.name, "Forgetful", "grey box", "these tests", {"kept": self.kept}, self.version)

    def sample(self, model, prompt, seeds, sampling):
        with_prompt = Unmitigated().sample(model, prompt, seeds, sampling)
        without = Unmitigated().sample(model, OTHERS[0], seeds, sampling)
        images = torch.cat([with_prompt.images[: self.kept], without.images[self.kept :]])
        return Mitigated(images, with_prompt.cost)


class Brightness:
    """An alignment scorer: how bright the image is, whatever the prompt; `Forgetful` hardly changes it."""

    name = "mean brightness"

    def scores(self, images, prompts):
        assert len(images) == len(prompts)
        return images.mean((1, 2, 3)).astype(np.float64)
