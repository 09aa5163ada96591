"""Synthetic images: random fields with shapes on them, which any trained network denoises better than a blur does.

They stand for images where a claim is made about prompts alone, and nobody gave an image.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.probes import ImageSet

ROLE: Final = "synthetic image"
SHAPES: Final = 4
FIELD, TEXTURE, TONE = 0.12, 0.05, 0.35
"""Standard deviation of the field, of that inside shapes, and largest distance of a mean tone from grey."""


def synthetic_images(shape: tuple[int, int, int], count: int, *, seed: int = 0) -> ImageSet:
    """Fields whose amplitude falls with one over the frequency, under ellipses and rectangles of random tones.

    Args:
        shape: (channels, height, width).
        count: of images.
        seed: of all that is random.

    Source: The power spectrum is that of natural images (Field 1987).
    """
    images = np.stack([_image(shape, np.random.default_rng([seed, number])) for number in range(count)])
    return ImageSet.of(images, ROLE)


def _image(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    channels, height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    amplitude = 1.0 / np.maximum(frequency, 1.0 / max(height, width))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * amplitude).real
    field = (field - field.mean()) / field.std()
    image = 0.5 + FIELD * field + rng.uniform(-TONE, TONE, (channels, 1, 1))
    y, x = np.linspace(0.0, 1.0, height)[:, None], np.linspace(0.0, 1.0, width)[None, :]
    for _ in range(SHAPES):
        (top, left), (tall, wide) = rng.uniform(0.0, 1.0, 2), rng.uniform(0.08, 0.4, 2)
        down, across = np.abs(y - top) / tall, np.abs(x - left) / wide
        inside = down**2 + across**2 < 1.0 if rng.random() < 0.5 else np.maximum(down, across) < 1.0
        image = np.where(inside, rng.uniform(0.0, 1.0, (channels, 1, 1)) + TEXTURE * field, image)
    clipped: NDArray[np.float32] = image.clip(0.0, 1.0).astype(np.float32)
    return clipped
