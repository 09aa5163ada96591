"""Noise from the run's seed and the image's own digest, never from position, label or batch.

Common random numbers: the same image gets the same noise in every attack, model, release, batch size and worker, so
that comparisons are paired and a score can be recomputed alone. Drawn in float64, so float32 and float64 models see
the same noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def image_digest(image: NDArray[np.float32]) -> bytes:
    """sha256 of one image's pixels, (channels, height, width) in [0, 1] as float32, and its shape."""
    pixels = np.ascontiguousarray(image, dtype="<f4")
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()


def noise_stream(purpose: str, seed: int, digest: bytes) -> np.random.Generator:
    """The generator of one purpose, seed and thing, which its digest names."""
    key = hashlib.sha256(f"{purpose}|{seed}|".encode() + digest).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))


def probe_noise(images: Tensor, draws: int, shape: Sequence[int], seed: int) -> Tensor:
    """Standard normal noise of every probe image.

    Args:
        images: (n, channels, height, width) in [0, 1].
        draws: noise draws for each image; draw j does not depend on how many there are.
        shape: shape of one draw, the model's sample_shape.
        seed: the run's seed.

    Returns:
        float64 (draws, n, *shape) on the CPU.
    """
    pixels = images.detach().to(device="cpu", dtype=torch.float32).numpy()
    noise = np.empty((draws, len(pixels), *shape))
    for i, image in enumerate(pixels):
        noise[:, i] = noise_stream("probe", seed, image_digest(image)).standard_normal((draws, *shape))
    return torch.from_numpy(noise)


@final
class ProbeDraws:
    """The same noise draw by draw, so that one draw of all images is held at a time; each reading draws it anew.

    Args:
        images: (n, channels, height, width) in [0, 1].
        draws: how many.
        shape: shape of one draw, the model's sample_shape.
        seed: the run's seed.
        like: gives device and precision.
    """

    def __init__(self, images: Tensor, draws: int, shape: Sequence[int], seed: int, like: Tensor) -> None:
        pixels = images.detach().to(device="cpu", dtype=torch.float32).numpy()
        self._digests = [image_digest(image) for image in pixels]
        self._draws, self._shape, self._seed, self._like = draws, tuple(shape), seed, like

    def __len__(self) -> int:
        return self._draws

    def __iter__(self) -> Iterator[Tensor]:
        """(n, *shape), draw after draw."""
        streams = [noise_stream("probe", self._seed, digest) for digest in self._digests]
        for _ in range(self._draws):
            drawn = torch.empty((len(streams), *self._shape), dtype=self._like.dtype)
            for row, stream in zip(drawn, streams, strict=True):
                row.copy_(torch.from_numpy(stream.standard_normal(self._shape)))
            yield drawn.to(self._like.device)


def start_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """x_T of generations: float64 (len(seeds), *shape), row i a function of seeds[i] alone."""
    rows = [noise_stream("generation", int(seed), b"").standard_normal(tuple(shape)) for seed in seeds]
    return torch.from_numpy(np.stack(rows) if rows else np.empty((0, *shape)))


def sampler_seed(seed: int) -> int:
    """Seed of the noise that a stochastic scheduler adds on the way, apart from the start noise of the same seed."""
    return int(noise_stream("sampler", int(seed), b"").integers(2**63))


def prompt_noise(prompts: Sequence[str], images: int, shape: Sequence[int], seed: int) -> Tensor:
    """x_T of the images of prompts.

    Args:
        prompts: texts; the same text gets the same noise in every run of this seed, whatever stands beside it.
        images: images a prompt; image j does not depend on how many there are.
        shape: shape of one x_T, the model's sample_shape.
        seed: the run's seed.

    Returns:
        float64 (prompts, images, *shape) on the CPU.
    """
    noise = np.empty((len(prompts), images, *shape))
    for row, prompt in zip(noise, prompts, strict=True):
        digest = hashlib.sha256(prompt.encode()).digest()
        row[:] = noise_stream("prompt", seed, digest).standard_normal((images, *shape))
    return torch.from_numpy(noise)


def sampler_generators(seeds: Sequence[int], device: torch.device) -> list[torch.Generator]:
    """What draws the noise that a stochastic scheduler adds on the way to each image."""
    return [torch.Generator(device).manual_seed(sampler_seed(seed)) for seed in seeds]
