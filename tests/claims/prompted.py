"""An exact text-to-image model with prompts that bring back one picture, and prompts that do not.

Each prompt is an isotropic Gaussian, so that a whole batch is one formula:
eps = sigma (x - alpha mean) / (alpha^2 variance + sigma^2). A
needle is far from the rest and narrow, the others are near it and wide.
"""

import numpy as np
import torch

from pytest_diffprivacy.models import Conditioning, NoiseSchedule
from pytest_diffprivacy.models.identity import ModelIdentity

SHAPE = (1, 4, 4)
NEEDLES = [f"the one picture number {i}" for i in range(12)]
BROADS = [f"many pictures number {i}" for i in range(30)]
REFERENCE = [f"reference prompt number {i}" for i in range(60)]


class PromptedGaussians:
    identity = ModelIdentity("prompted", "hand-written", "prompted gaussians", 0, "float64", "cpu", "grey box")
    schedule = NoiseSchedule.linear()
    sample_shape = image_shape = SHAPE
    device, dtype = torch.device("cpu"), torch.float64
    token_limit = 8

    def __init__(self):
        rng = np.random.default_rng(4)
        self.laws = {"": (torch.zeros(SHAPE, dtype=torch.float64), 0.3)}
        for prompt in BROADS + REFERENCE:
            self.laws[prompt] = (torch.from_numpy(rng.normal(0.0, 0.15, SHAPE)), 0.25)
        for prompt in NEEDLES:
            self.laws[prompt] = (torch.from_numpy(rng.choice([-0.9, 0.9], SHAPE)), 1e-5)

    def condition(self, prompts, count):
        means, variances = zip(*(self.laws[p] for p in prompts or [""] * count), strict=True)
        return Conditioning({"mean": torch.stack(means), "variance": torch.tensor(variances, dtype=torch.float64)})

    def predict_eps(self, x_t, timestep, conditioning=None):
        alpha, sigma = self.schedule.at(timestep)
        told = conditioning or self.condition(None, len(x_t))
        variance = told["variance"].reshape(-1, 1, 1, 1)
        return sigma * (x_t - alpha * told["mean"]) / (alpha**2 * variance + sigma**2)

    def token_counts(self, prompts):
        return [len(prompt.split()) + 2 for prompt in prompts]

    def encode(self, images):
        return images.double() * 2 - 1

    def decode(self, x0):
        return ((x0 + 1) / 2).clamp(0, 1)


def prompted_model():
    return PromptedGaussians()
