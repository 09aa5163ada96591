"""RMS distance of two images as a whole, and of their most different tiles, since a shared background makes no copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
    """For every pair of images the RMS difference of that part, each (n, values), in which they differ most: (n, n).

    Matrix products in float64 about the mean image: distances are right to about 1e-7, 8-bit images that differ are
    never called equal, and equal ones are at most 1e-7 apart. One part after the other, so that all of it stays in the
    processor's cache.
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
    """Images as one block of float32; refuses another number of dimensions than (n, channels, height, width)."""
    if images.ndim != 4:
        raise UsageError(f"`images` must be (n, channels, height, width), got shape {images.shape}.")
    return np.ascontiguousarray(images, dtype=np.float32)


GRID4 = "grid4"


def tile_side(height: int, width: int, tile: int | str = GRID4) -> tuple[int, int]:
    """Height and width of a tile in pixels.

    Args:
        height: of the images.
        width: of the images.
        tile: "grid4" for a quarter of each side, 16 tiles in all; or the side in pixels, 128 in the papers.

    Raises:
        UsageError: the images cannot be cut into such tiles without a rest.

    Source: METHODS 1.2; ragged tiles are an error.
    """
    if tile == GRID4:
        size = (height // 4 if height % 4 == 0 else 0, width // 4 if width % 4 == 0 else 0)
    elif isinstance(tile, int) and not isinstance(tile, bool):
        size = (tile, tile)
    else:
        raise UsageError(f'`tile` must be "{GRID4}" or a number of pixels, got {tile!r}.')
    if min(size) < 1 or height % size[0] or width % size[1]:
        raise UsageError(
            f"`tile` must divide images of {height} x {width} pixels without a rest, got {tile!r}. "
            f"Choose a side that divides {height} and {width}."
        )
    return size


def tiled_l2(a: NDArray[np.float32], b: NDArray[np.float32], *, tile: int | str = GRID4) -> NDArray[np.float64]:
    """The largest RMS difference of two images over non-overlapping tiles at the same places.

    The maximum keeps two pictures with the same plain background from being called equal.

    Args:
        a: (n, channels, height, width) in [0, 1].
        b: the same shape; row i is compared with row i.
        tile: "grid4" for a quarter of each side, or the side in pixels.

    Returns:
        float64 (n,), in [0, 1]; never below the plain RMS difference.

    Raises:
        UsageError: the shapes differ, or tiles would be ragged.

    Source: Implements Carlini et al. 2023, section 4.2 (METHODS 1.2).
    """
    if a.shape != b.shape:
        raise UsageError(f"`a` and `b` must have one shape, got {a.shape} and {b.shape}.")
    pairs = zip(_tiles(a, tile), _tiles(b, tile), strict=True)
    distances: NDArray[np.float64] = np.sqrt(np.max([np.square(x.astype(np.float64) - y).mean(1) for x, y in pairs], 0))
    return distances


def pairwise_tiled_l2(images: NDArray[np.float32], *, tile: int | str = GRID4) -> NDArray[np.float64]:
    """The tiled distance of every pair of images: float64 (n, n), symmetric, 0 on the diagonal.

    Args:
        images: (n, channels, height, width) in [0, 1].
        tile: "grid4" for a quarter of each side, or the side in pixels.

    Raises:
        UsageError: the images have another number of dimensions, or tiles would be ragged.

    Source: Implements Carlini et al. 2023, section 4.2 (METHODS 1.2).
    """
    return largest_part_distance(_tiles(images, tile))


def _tiles(images: NDArray[np.float32], tile: int | str) -> Iterator[NDArray[np.float32]]:
    """Tile by tile the values of every image: (n, values) each."""
    images = checked_images(images)
    count, _, height, width = images.shape
    rows, columns = tile_side(height, width, tile)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield images[:, :, top : top + rows, left : left + columns].reshape(count, -1)
