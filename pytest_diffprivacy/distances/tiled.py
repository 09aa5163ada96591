"""Tiled distance: that of the two images' most different tiles, so that a shared background makes no copy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.pixels import checked_images, largest_part_distance
from pytest_diffprivacy.errors import UsageError

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
