"""How far apart are two images as a whole? The root mean square of their pixel differences."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError

ROWS = 256


def rms(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square pixel difference of images, one for each pair that broadcasting makes.

    Args:
        a: (..., channels, height, width) in [0, 1].
        b: the same shape, or one that broadcasts with it.

    Returns:
        float64 (...), in [0, 1].

    Source: Implements METHODS 0.1.
    """
    difference = a.astype(np.float64) - b
    result: NDArray[np.float64] = np.sqrt(np.square(difference).mean((-3, -2, -1)))
    return result


def pairwise_l2(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """RMS pixel difference of every pair of images: float64 (n, n), symmetric, 0 on the diagonal.

    Args:
        images: (n, channels, height, width) in [0, 1].

    Raises:
        UsageError: the images have another number of dimensions.

    Source: Implements METHODS 0.1.
    """
    flat = torch.from_numpy(checked_images(images)).flatten(1)
    return largest_part_distance(flat[None])


def largest_part_distance(parts: Tensor) -> NDArray[np.float64]:
    """For every pair of images the RMS difference of the part in which they differ most.

    Matrix products in float64 about the mean image: distances are right to about 1e-7, 8-bit images that differ are
    never called equal, and equal ones are at most 1e-7 apart.

    Args:
        parts: (p, n, values), part by part the values of every image.

    Returns:
        float64 (n, n), symmetric, 0 on the diagonal.
    """
    count, values = parts.shape[1:]
    centred = parts.double() - parts.double().mean(1, keepdim=True)
    norms = centred.square().sum(2)
    largest = torch.zeros((count, count), dtype=torch.float64)
    for start in range(0, count, ROWS):  # the upper triangle, a band of rows at a time
        rows = slice(start, start + ROWS)
        sums = norms[:, rows, None] + norms[:, None, start:]
        squared = torch.baddbmm(sums, centred[:, rows], centred[:, start:].transpose(1, 2), alpha=-2.0)
        largest[rows, start:] = squared.amax(0)
    upper = (largest.clamp_(min=0.0) / values).sqrt_().triu_(1)
    result: NDArray[np.float64] = (upper + upper.T).numpy()
    return result


def checked_images(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images as one block of float32.

    Raises:
        UsageError: they have another number of dimensions than (n, channels, height, width).
    """
    if images.ndim != 4:
        raise UsageError(f"`images` must be (n, channels, height, width), got shape {images.shape}.")
    return np.ascontiguousarray(images, dtype=np.float32)
