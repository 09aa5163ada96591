"""RMS distance: the root mean square of the pixel differences of two images as a whole."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import UsageError


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
    images = checked_images(images)
    return largest_part_distance([images.reshape(len(images), -1)])


def largest_part_distance(parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """For every pair of images the RMS difference of the part in which they differ most.

    Matrix products in float64 about the mean image: distances are right to about 1e-7, 8-bit images that differ are
    never called equal, and equal ones are at most 1e-7 apart. One part after the other, so that all of it stays in the
    processor's cache.

    Args:
        parts: for each part the values of every image, (n, values), all of one shape; at least one part.

    Returns:
        float64 (n, n), symmetric, 0 on the diagonal.
    """
    largest = products = centred = np.empty((0, 0))
    for part in parts:
        if not len(largest):
            largest, products = np.zeros((2, len(part), len(part)))
            centred = np.empty(part.shape)
        np.subtract(part, part.mean(0, dtype=np.float64), out=centred)
        np.matmul(centred, centred.T, out=products)
        norms = products.diagonal().copy()
        products *= -2.0
        products += norms
        products += norms[:, None]
        np.maximum(largest, products, out=largest)
    upper = np.triu(np.sqrt(largest / max(1, centred.shape[1])), 1)
    result: NDArray[np.float64] = upper + upper.T
    return result


def checked_images(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images as one block of float32.

    Raises:
        UsageError: they have another number of dimensions than (n, channels, height, width).
    """
    if images.ndim != 4:
        raise UsageError(f"`images` must be (n, channels, height, width), got shape {images.shape}.")
    return np.ascontiguousarray(images, dtype=np.float32)
