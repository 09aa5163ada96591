"""Adaptive distance: how much nearer a generation is to a training image than the images around that one are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import Neighbours, nearest_images
from pytest_diffprivacy.distances.bounds import Pixels
from pytest_diffprivacy.distances.near_pairs import near_images
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.probes import ImageSet

NEIGHBOURS = 50
ALPHA = 0.5
DUPLICATE_DELTA = 0.02
Results = TypeVar("Results", bound=Any)


@dataclass(frozen=True, slots=True)
class AdaptiveMatches:
    """For each query its nearest training image and how conspicuous that nearness is.

    Attributes:
        nearest: int64 (n,), position of the nearest image in the training set.
        l2: float64 (n,), RMS distance to it on [0, 1].
        adaptive: float64 (n,), `l2 / (alpha * mean distance of the neighbourhood)` with the nearest image and its
            near-duplicates left out of the neighbourhood; lower = closer. The verdict uses this.
        literal: float64 (n,), the published form, which leaves them in and so misses images repeated many times.
        neighbours: size of the neighbourhood that was used, min(n, distinct images - 1).
    """

    nearest: NDArray[np.int64]
    l2: NDArray[np.float64]
    adaptive: NDArray[np.float64]
    literal: NDArray[np.float64]
    neighbours: int

    def of(self, queries: NDArray[np.bool_]) -> AdaptiveMatches:
        """The matches of some of the queries."""
        arrays = {name: getattr(self, name)[queries] for name in ("nearest", "l2", "adaptive", "literal")}
        return replace(self, **arrays)


Search: TypeAlias = Callable[[Pixels | ImageSet, ImageSet], AdaptiveMatches]
"""`adaptive_distances` of queries to a training set, or what answers in its place."""


def adaptive_distances(
    queries: Pixels | ImageSet,
    training: ImageSet,
    *,
    neighbours: int = NEIGHBOURS,
    alpha: float = ALPHA,
    duplicate_delta: float = DUPLICATE_DELTA,
) -> AdaptiveMatches:
    """The adaptive distance of each query to a training set.

    Args:
        queries: (n, channels, height, width), uint8 or in [0, 1]; or a set.
        training: the training images; exact duplicates are already counted in its repetitions.
        neighbours: size of the neighbourhood S.
        alpha: the paper's factor.
        duplicate_delta: training images within this RMS distance of the nearest one are its duplicates.

    Raises:
        UsageError: fewer than 3 distinct training images, or no image is left in a neighbourhood.

    Source: Follows Carlini et al. 2023, section 5.2 except that the nearest image and its duplicates are left out of
    the neighbourhood (METHODS 1.3); the literal form is returned beside it.
    """
    distinct = len(training)
    if distinct < 3:
        raise UsageError(
            f"The adaptive distance needs at least 3 distinct training images, got {distinct}. Add training images."
        )
    if isinstance(queries, ImageSet):
        queries = queries.pixels(range(len(queries)))
    size = min(neighbours, distinct - 1)
    adaptive, literal, l2 = np.empty((3, len(queries)))
    nearest = np.empty(len(queries), dtype=np.int64)
    pending, k = np.arange(len(queries)), min(size + 8, distinct)
    while len(pending):
        found = nearest_images(queries if len(pending) == len(queries) else queries[pending], training, k)
        done = np.zeros(len(pending), dtype=bool)
        copies = _duplicates(training, found, duplicate_delta)
        for row, query in enumerate(pending):
            around = found.distances[row][~copies[row]]
            if len(around) < size and k < distinct:
                continue
            if len(around) == 0:
                raise UsageError(
                    f"All training images are within {duplicate_delta} of each other: no neighbourhood is left. "
                    "Lower duplicate_delta."
                )
            nearest[query], l2[query] = found.indices[row, 0], found.distances[row, 0]
            adaptive[query] = _ratio(l2[query], alpha * around[:size].mean())
            crowd = np.repeat(found.distances[row], training.repetitions[found.indices[row]])
            literal[query] = _ratio(l2[query], alpha * crowd[:neighbours].mean())
            done[row] = True
        pending, k = pending[~done], min(2 * k, distinct)
    return AdaptiveMatches(nearest, l2, adaptive, literal, size)


def _ratio(distance: float, scale: float) -> float:
    """Distance / scale, with 0 / 0 = 1: a copy in a neighbourhood of copies stands out no more than its neighbours."""
    return distance / scale if scale > 0 else 1.0


def _duplicates(training: ImageSet, found: Neighbours, delta: float) -> NDArray[np.bool_]:
    """Which found images lie within delta of the nearest found one, itself included: bool (queries, k).

    By the triangle inequality only those can that are at most delta farther from the query than the nearest is.
    """
    near = found.distances <= found.distances[:, :1] + delta
    rows, columns = np.nonzero(near)
    pairs = np.stack([found.indices[rows, 0], found.indices[rows, columns]], axis=1)
    distinct, inverse = np.unique(pairs, axis=0, return_inverse=True)
    close = near_images(training, distinct[:, 0], distinct[:, 1], delta)
    near[rows, columns] = close[inverse.reshape(-1)]
    return near


def joined(parts: Sequence[Results]) -> Results:
    """Results of several blocks of images as those of one: a dataclass whose arrays have one entry an image."""
    arrays = [f.name for f in fields(parts[0]) if isinstance(getattr(parts[0], f.name), np.ndarray)]
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays})
