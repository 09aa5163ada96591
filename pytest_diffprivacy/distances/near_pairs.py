"""Near pairs: every pair of a set within a distance, exactly, a block at a time; and hashes that sort out others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn

from pytest_diffprivacy.distances.bounds import Features
from pytest_diffprivacy.distances.neighbours import LARGE_SIDE, Searched
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.slices import in_batches

BLOCK_VALUES = 2**22
"""Numbers in one block of vectors: 16 MB in float32."""

MOST_ROWS = 2048
PAIR_BYTES = 2**28
HASH_SIDE = 32
LOW = 8
BITS = LOW * LOW - 1


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Some of the near pairs of a set; each pair is given once.

    Attributes:
        first: int64 (pairs,), position of one image.
        second: int64 (pairs,), position of the other, larger than `first`.
        squared: float64 (pairs,), squared Euclidean distance of their vectors.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    squared: NDArray[np.float64]


def near_pairs(
    load: Callable[[Sequence[int]], NDArray[np.float32]], count: int, max_squared: float, *, rows: int | None = None
) -> Iterator[NearPairs]:
    """Every pair of rows whose squared Euclidean distance is at most `max_squared`.

    Candidates come from float32 matrix products with room for their rounding; their distances are recomputed as sums of
    squared differences in float64. Two blocks are held at a time, so the set may exceed memory.

    Args:
        load: positions -> vectors (len, ...), each row flattened here.
        count: number of vectors.
        max_squared: the largest squared distance of a pair, at least 0.
        rows: vectors in a block; None: as many as make 16 MB.

    Yields:
        The pairs of two blocks, where there are any.

    Raises:
        UsageError: `max_squared` is negative or NaN.

    Source: ours; exact, since an approximate index would make "no duplicates" unsound (METHODS 1.3).
    """
    if not max_squared >= 0.0:
        raise UsageError(f"`max_squared` must be at least 0, got {max_squared!r}.")
    size = rows or _rows(load, count)
    parts = [range(part.start, part.stop) for part in in_batches(count, size)]
    for i, part in enumerate(parts):
        a = _flat(load(part))
        for other in parts[i:]:
            b = a if other is part else _flat(load(other))
            first, second = _candidates(a, b, max_squared)
            if other is part:
                above = first < second
                first, second = first[above], second[above]
            for some in in_batches(len(first), MOST_ROWS):
                rows_a, rows_b = first[some], second[some]
                squared = (a[rows_a].double() - b[rows_b].double()).square().sum(1)
                near = squared <= max_squared
                if bool(near.any()):
                    yield NearPairs(
                        (rows_a[near] + part.start).numpy(), (rows_b[near] + other.start).numpy(), squared[near].numpy()
                    )


def possible_pairs(
    features: Features, max_squared: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """Every pair of images whose squared distance may be at most `max_squared`, and whether it is for certain.

    Args:
        features: what bounds the distances of the images.
        max_squared: on [0, 1], summed over the values.

    Yields:
        First and second positions (first < second) and bool, of the pairs of two blocks.
    """
    parts = list(in_batches(len(features), MOST_ROWS))
    for i, part in enumerate(parts):
        for other in parts[i:]:
            lower, upper = features.take(part).bounds(features.take(other))
            first, second = np.nonzero(lower <= max_squared)
            certain = upper[first, second] <= max_squared
            first, second = first + part.start, second + other.start
            above = first < second
            yield first[above], second[above], certain[above]


def near_images(
    images: Searched, first: NDArray[np.int64], second: NDArray[np.int64], max_distance: float
) -> NDArray[np.bool_]:
    """Which pairs of images of a set are within an RMS distance: bool (pairs,).

    Bounds decide where they can and the images are large; images are read for the others, a fixed memory's fill.
    """
    near, unsure = np.zeros(len(first), dtype=bool), np.arange(len(first))
    values = int(np.prod(images.image_shape))
    if min(images.image_shape[1:]) >= LARGE_SIDE and len(first):
        lower, upper = images.features.between(first, second)
        near = upper <= max_distance**2 * values
        unsure = np.flatnonzero(~near & (lower <= max_distance**2 * values))
    order = unsure[np.lexsort((second[unsure], first[unsure]))]
    size = max(1, PAIR_BYTES // (2 * values * (1 if images.in_bytes else 4)))
    for part in in_batches(len(order), size):
        some = order[part]
        needed, places = np.unique(np.concatenate([first[some], second[some]]), return_inverse=True)
        pixels = images.pixels(needed.tolist())
        limit = max_distance**2 * values * (255.0**2 if pixels.dtype == np.uint8 else 1.0)
        for pair, a, b in zip(some, places[: len(some)], places[len(some) :], strict=True):
            difference = np.subtract(pixels[a], pixels[b], dtype=np.float64).ravel()
            near[pair] = difference @ difference <= limit
    return near


def _candidates(a: torch.Tensor, b: torch.Tensor, max_squared: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a and of b that may be near: none that is near is missing."""
    centre = b.mean(0, keepdim=True)
    a, b = a - centre, b - centre
    norms_a, norms_b = a.square().sum(1, keepdim=True), b.square().sum(1)
    sums = norms_a + norms_b
    squared = torch.addmm(sums, a, b.T, alpha=-2.0)
    slack = 64.0 * torch.finfo(torch.float32).eps * (sums + 1.0)
    first, second = (squared <= max_squared + slack).nonzero(as_tuple=True)
    return first, second


def _flat(vectors: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).flatten(1)


def _rows(load: Callable[[Sequence[int]], NDArray[np.float32]], count: int) -> int:
    width = load(range(min(1, count))).size if count else 1
    return max(1, min(MOST_ROWS, BLOCK_VALUES // max(1, width)))


def perceptual_hashes(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The signs of each image's lowest frequencies about their median: float32 (n, 63) of -1 and 1.

    The squared Euclidean distance of two hashes is four times the number of bits in which they differ. A flat image has
    a hash of -1 throughout. A pre-filter only: an image whose colours are inverted, or that is mirrored or cut, has
    another hash.

    Args:
        images: (n, channels, height, width) in [0, 1].

    Source: Implements the perceptual hash of Zauner 2010 (DCT of the grey image at 32x32, 8x8 lowest frequencies),
    without the constant term.
    """
    grey = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).mean(1, keepdim=True)
    small = torch.nn.functional.interpolate(grey, (HASH_SIDE, HASH_SIDE), mode="bilinear", antialias=True)
    frequencies = dctn(small[:, 0].double().numpy(), axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(images), -1)
    low = np.round(frequencies[:, 1:], 6)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.where(bits, np.float32(1.0), np.float32(-1.0))
