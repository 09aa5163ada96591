"""How does one audit a model that is no diffusion model? The example GAN as a function of seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from pytest_diffprivacy.models import CallableGenerator

HERE = Path(__file__).parent
LATENT = 32


def make_generator() -> nn.Module:
    """A DCGAN generator: 32 numbers to an 8x8 image in [-1, 1]; 0.1 million parameters."""
    return nn.Sequential(
        nn.Linear(LATENT, 64 * 2 * 2),
        nn.Unflatten(1, (64, 2, 2)),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 1, 3, padding=1),
        nn.Tanh(),
    )


def digits_gan() -> CallableGenerator:
    """The GAN that `build_digits_gan.py` trained on the rows of `digits-leaky`."""
    path = HERE / "digits-gan" / "generator.safetensors"
    network = make_generator().eval()
    network.load_state_dict(load_file(path))

    @torch.no_grad()
    def images(prompts: object, seeds: Sequence[int]) -> torch.Tensor:
        z = torch.stack([torch.randn(LATENT, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        return ((network(z) + 1) / 2).clamp(0, 1)

    return CallableGenerator(images, name="digits-gan", version=hashlib.sha256(path.read_bytes()).hexdigest())
