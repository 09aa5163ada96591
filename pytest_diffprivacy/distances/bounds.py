"""Bounds of the distance of two images from few numbers of each: what their blocks sum to, and what the sums leave out.

An image minus the mean of each of its blocks is orthogonal to all images that are flat on the blocks. So the squared
distance of two images is that of their block means plus that of their rests, and the rests are at least the difference
and at most the sum of their lengths apart, cell by cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.slices import in_batches

FINEST, COARSEST, CELLS = 32, 8, 16
GROUP_VALUES = 2**20
PAIRS = 1024
TERMS = 512
ROUNDING = 2.0**-24
EXACT_SUMS = 2**24
"""Whole numbers up to this are added in float32 without rounding."""

Pixels: TypeAlias = NDArray[Any]
"""Images as uint8, or as float32 in [0, 1]."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The numbers of several images, in units of pixels on [0, 1].

    Attributes:
        values: float32 (n, means + cells): of each block its sum about mid-grey over the root of its size; of each cell
            of a coarser grid the length of what the means of its blocks leave out.
        means: how many of them belong to blocks.
    """

    values: NDArray[np.float32]
    means: int

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: Sequence[int] | NDArray[np.int64] | slice) -> Features:
        """Those of some of the images."""
        return Features(self.values[positions], self.means)

    def bounds(self, others: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Below and above the squared Euclidean distances of these images and others: float32 (n, m) each.

        Rounding is allowed for: that of a dot product summed in any order (Higham, Accuracy and Stability of Numerical
        Algorithms, section 3.1), of the values themselves and of the sums.
        """
        own, theirs = (np.einsum("ij,ij->i", f.values, f.values, dtype=np.float64) for f in (self, others))
        sums = np.add.outer(own.astype(np.float32), theirs.astype(np.float32))
        terms = min(TERMS, self.values.shape[1]) + self.values.shape[1] // TERMS + 48
        slack = sums * np.float32(1.01 * terms * ROUNDING)
        blocks, rests = np.zeros_like(sums), np.zeros_like(sums)
        for target, first, last in ((blocks, 0, self.means), (rests, self.means, self.values.shape[1])):
            for part in in_batches(last - first, TERMS):
                some = slice(first + part.start, first + part.stop)
                target += self.values[:, some] @ others.values[:, some].T
        sums -= np.float32(2.0) * blocks
        rests *= np.float32(2.0)
        lower = sums - rests
        lower -= slack
        rests += sums
        rests += slack
        return np.maximum(lower, np.float32(0.0), out=lower), np.maximum(rests, np.float32(0.0), out=rests)

    def between(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[Float64, Float64]:
        """Below and above the squared distances of pairs of these images: float64 (pairs,) each."""
        lower, upper = np.empty((2, len(first)))
        for part in in_batches(len(first), PAIRS):
            a, b = (self.values[some[part]].astype(np.float64) for some in (first, second))
            slack = 8.0 * ROUNDING * (np.square(a).sum(1) + np.square(b).sum(1))
            blocks = np.square(a[:, : self.means] - b[:, : self.means]).sum(1)
            a, b = a[:, self.means :], b[:, self.means :]
            lower[part] = blocks + np.square(a - b).sum(1) - slack
            upper[part] = blocks + np.square(a + b).sum(1) + slack
        return lower, upper


def feature_count(shape: Sequence[int]) -> tuple[int, int]:
    """How many numbers belong to blocks and to cells of an image (channels, height, width)."""
    means, cells = shape[0], 1
    for side in shape[1:]:
        means *= _grid(side)
        cells *= min(CELLS, _grid(side))
    return means, cells


def features_of(images: Pixels) -> Features:
    """The features of images (n, channels, height, width), uint8 or float32 in [0, 1]."""
    means, cells = feature_count(images.shape[1:])
    values = np.empty((len(images), means + cells), dtype=np.float32)
    rows, coarse, sizes, roots, across = _blocks(images.shape[2:], images.dtype)
    unit = 1.0 / 510.0 if images.dtype == np.uint8 else 0.5
    for some in in_batches(len(images), max(1, GROUP_VALUES // max(1, images[:1].size))):
        sums, squares = _sums(images[some], rows, across)
        values[some, :means] = (unit * sums / roots).reshape(len(sums), -1)
        rest = np.maximum(squares - np.square(sums) / sizes, 0.0).sum(1)
        for axis, starts in enumerate(coarse, start=1):
            rest = np.add.reduceat(rest, starts, axis=axis)
        values[some, means:] = unit * np.sqrt(rest).reshape(len(rest), -1)
    return Features(values, means)


@lru_cache(maxsize=16)
def _blocks(
    sides: tuple[int, int], dtype: np.dtype[np.generic]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], Float64, Float64, NDArray[Any]]:
    """Where rows of blocks begin, and cells of blocks; pixels of a block, their root, and which pixel is in which."""
    rows, columns = (_starts(side, _grid(side)) for side in sides)
    coarse = [_starts(len(starts), min(CELLS, len(starts))) for starts in (rows, columns)]
    sizes = np.multiply.outer(_lengths(rows, sides[0]), _lengths(columns, sides[1])).astype(np.float64)
    return rows, coarse, sizes, np.sqrt(sizes), _indicator(columns, sides[1], dtype)


def _sums(
    images: Pixels, rows: NDArray[np.int64], across: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For every block the sum of `2 x - white` and that of its squares; exact where pixels are bytes."""
    white = 255 if images.dtype == np.uint8 else 1
    lines = np.multiply(images, across.dtype.type(2), dtype=across.dtype)
    lines -= across.dtype.type(white)
    found = []
    for _ in range(2):
        wide = (lines.reshape(-1, lines.shape[-1]) @ across).reshape(*lines.shape[:3], -1)
        found.append(np.add.reduceat(wide, rows, axis=2, dtype=np.float64))
        np.multiply(lines, lines, out=lines)
    return found[0], found[1]


def _indicator(starts: NDArray[np.int64], side: int, dtype: np.dtype[np.generic]) -> NDArray[Any]:
    """Which pixel of a line is in which block: (side, blocks); in float32 where sums over a block are exact in it."""
    exact = dtype == np.uint8 and int(_lengths(starts, side).max()) * 255**2 <= EXACT_SUMS
    blocks = np.repeat(np.arange(len(starts)), _lengths(starts, side))
    result: NDArray[Any] = np.eye(len(starts), dtype=np.float32 if exact else np.float64)[blocks]
    return result


def _grid(side: int) -> int:
    """Blocks along a side: a quarter of its pixels, between 8 and 32, and no more than there are."""
    return min(side, FINEST, max(COARSEST, side // 4))


def _starts(side: int, parts: int) -> NDArray[np.int64]:
    return np.linspace(0, side, parts, endpoint=False).astype(np.int64)


def _lengths(starts: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    return np.diff(starts, append=side)
