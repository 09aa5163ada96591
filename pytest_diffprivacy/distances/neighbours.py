"""Nearest images, and how many are near: exact search over a whole set, each of its images read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.bounds import Features, Pixels, features_of
from pytest_diffprivacy.distances.candidates import Candidates, find_candidates
from pytest_diffprivacy.distances.squares import (
    Float64,
    about_squares,
    byte_squares,
    bytes_of,
    floats_of,
    pair_squares,
    square_norms,
)
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.slices import in_batches

Indices = NDArray[np.int64]

LARGE_SIDE = 64
"""Pixels of the shorter side from which on bounds come before pixels."""
QUERY_BYTES = 64 * 2**20
READ_BYTES = 48 * 2**20
HELD_BYTES = 2**30
SEARCHED_ROWS = 4096
BOUNDED = 2048
DENSE = 1 / 16
MARGIN = 16


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest images of each query, nearest first, equally near ones in their order.

    Attributes:
        indices: int64 (queries, k), positions in the searched set.
        distances: float64 (queries, k), RMS pixel differences on [0, 1].
    """

    indices: Indices
    distances: Float64


class Searched(Protocol):
    """Images that can be read in any order, again and again; an ImageSet is one."""

    def __len__(self) -> int: ...

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of every image."""
        ...

    @property
    def in_bytes(self) -> bool:
        """Whether `pixels` are bytes."""
        ...

    @property
    def features(self) -> Features:
        """What bounds their distances."""
        ...

    def pixels(self, indices: Sequence[int]) -> Pixels:
        """Some of the images, uint8, or float32 in [0, 1]."""
        ...


@final
class ArrayImages:
    """An array (n, channels, height, width), uint8 or float in [0, 1], as a searched set."""

    def __init__(self, images: Pixels) -> None:
        self._images = images
        self.image_shape: tuple[int, ...] = images.shape[1:]
        self.in_bytes = images.dtype == np.uint8

    def __len__(self) -> int:
        return len(self._images)

    @cached_property
    def features(self) -> Features:
        """What bounds their distances."""
        return features_of(self._images)

    def pixels(self, indices: Sequence[int]) -> Pixels:
        """Some of the array; a view where they follow each other."""
        return self._images[indices.start : indices.stop] if isinstance(indices, range) else self._images[indices]


def query_rows(searched: Searched) -> int:
    """How many images of a set's size are held as queries at once; they cost one reading of the set."""
    values = int(np.prod(searched.image_shape))
    return max(1, HELD_BYTES // (values * (1 if searched.in_bytes else 4)))


def nearest_images(queries: Pixels, searched: Searched, k: int) -> Neighbours:
    """The exact k nearest images by RMS distance.

    Images of 64 pixels a side and more are read once, in an order in which the nearest come first, and only those that
    may be among the k nearest of a query: bounds from a few numbers of each say which (METHODS 1.3). Smaller ones are
    compared by float32 products with a bound on their rounding, and what may be among the k nearest is computed again.
    Distances of bytes are computed in whole numbers, so that ties are ties; those of other pixels as float64 sums of
    squared differences. Memory beyond queries, features and result is fixed.

    Args:
        queries: (q, channels, height, width), uint8 or in [0, 1].
        searched: the images to search.
        k: neighbours wanted; must not exceed the number of searched images.

    Raises:
        UsageError: shapes differ, or k is larger than the set.
    """
    count = len(searched)
    if not 1 <= k <= count:
        raise UsageError(f"`k` must be between 1 and the {count} searched images, got {k!r}.")
    asked = _Asked(queries, searched)
    search = _by_bounds if min(asked.shape[1:]) >= LARGE_SIDE else _by_products
    squared, indices = search(asked, searched, k) if len(queries) else (np.empty((0, k)), np.empty((0, k), np.int64))
    return Neighbours(indices, np.sqrt(squared / asked.unit))


def count_within(queries: Pixels, searched: Searched, radius: float, *, repetitions: Indices | None = None) -> Indices:
    """For each query the number of searched images within an RMS distance, counted as often as they are repeated.

    Args:
        queries: (q, channels, height, width), uint8 or in [0, 1].
        searched: the images to count.
        radius: the largest RMS distance that counts, on [0, 1].
        repetitions: int64 (len(searched),), how often each image counts; None: once.

    Returns:
        int64 (q,).

    Raises:
        UsageError: shapes differ.
    """
    asked, counts = _Asked(queries, searched), np.zeros(len(queries), dtype=np.int64)
    weights = np.ones(len(searched), dtype=np.int64) if repetitions is None else repetitions
    values = int(np.prod(asked.shape))
    limit = np.full(len(queries), radius**2 * asked.unit)
    for part in in_batches(len(searched), BOUNDED):
        lower, upper = asked.features.bounds(searched.features.take(part))
        near = upper <= radius**2 * values
        counts += near @ weights[part]
        unsure = ~near & (lower <= radius**2 * values)
        unsettled = np.flatnonzero(unsure.any(0))
        for some in in_batches(len(unsettled), asked.readable):
            columns = unsettled[some]
            squared = asked.squares(searched, columns + part.start, unsure[:, columns], limit)
            counts += ((squared <= limit[:, None]) & unsure[:, columns]) @ weights[part][columns]
    return counts


@final
class _Asked:
    """Queries in the kind of pixels of the searched set, and their distances in it."""

    def __init__(self, queries: Pixels, searched: Searched) -> None:
        self.shape = tuple(queries.shape[1:])
        if len(searched) and searched.image_shape != self.shape:
            raise UsageError(f"Searched images must have shape {self.shape}, got {tuple(searched.image_shape)}.")
        levels = queries if queries.dtype == np.uint8 else bytes_of(queries) if searched.in_bytes else None
        self.in_bytes = searched.in_bytes and levels is not None
        self.images: Pixels = levels if self.in_bytes and levels is not None else floats_of(queries)
        self.flat: Pixels = np.ascontiguousarray(self.images).reshape(len(queries), -1)
        self.unit = self.flat.shape[1] * (255.0**2 if self.in_bytes else 1.0)
        self.readable = max(1, READ_BYTES // (self.flat.shape[1] * self.flat.itemsize))

    def __len__(self) -> int:
        return len(self.flat)

    @cached_property
    def features(self) -> Features:
        """What bounds their distances."""
        return features_of(self.images)

    @cached_property
    def _norms(self) -> Float64:
        return square_norms(self.flat)

    def read(self, searched: Searched, indices: Sequence[int]) -> Pixels:
        """Flat images of the set, in the kind of the queries."""
        images = searched.pixels(indices)
        kind = images if self.in_bytes else floats_of(images)
        return np.ascontiguousarray(kind).reshape(len(images), -1)

    def squares(self, searched: Searched, indices: Indices, wanted: NDArray[np.bool_], limit: Float64) -> Float64:
        """Squared distances of the queries and some images, (q, images); infinite where nobody wants to know.

        Args:
            searched: the set of the images.
            indices: which of them.
            wanted: bool (q, images).
            limit: (q,), what is farther is not wanted.
        """
        images = self.read(searched, indices.tolist())
        squared = np.full(wanted.shape, np.inf)
        rows = np.flatnonzero(wanted.any(1))
        dense = wanted.sum() > DENSE * len(rows) * len(images)
        if self.in_bytes:
            groups = [(rows, slice(0, len(images)))] if dense else []
            for column in range(0 if dense else len(images)):
                groups.append((np.flatnonzero(wanted[:, column]), slice(column, column + 1)))
            for some, columns in groups:
                chosen = self.flat if len(some) == len(self) else self.flat[some]
                squared[some, columns] = byte_squares(chosen, images[columns], self._norms[some])
            return squared
        pairs = wanted
        if dense:
            about, error = about_squares(self.flat, images)
            pairs = wanted & (about - error <= limit[:, None])
        one, other = np.nonzero(pairs)
        squared[one, other] = pair_squares(self.flat, one, images, other)
        return squared


def _by_bounds(asked: _Asked, searched: Searched, k: int) -> tuple[Float64, Indices]:
    """Squared distances and positions of the k nearest: every image that may be one is read once."""
    scale = asked.unit / int(np.prod(asked.shape))
    limit, order = _promising(asked.features, searched.features, k)
    limit = limit * scale
    squared, indices = np.full((len(asked), k), np.inf), np.full((len(asked), k), len(searched), dtype=np.int64)
    for some in in_batches(len(order), asked.readable):
        images = order[some]
        lower, _ = asked.features.bounds(searched.features.take(images))
        wanted = lower * scale <= limit[:, None]
        images, wanted = images[wanted.any(0)], wanted[:, wanted.any(0)]
        if not len(images):
            continue
        found = asked.squares(searched, images, wanted, limit)
        rows = np.flatnonzero((found <= limit[:, None]).any(1))
        together = np.concatenate([squared[rows], found[rows]], axis=1)
        places = np.concatenate([indices[rows], np.broadcast_to(images, (len(rows), len(images)))], axis=1)
        nearest = np.lexsort((places, together), axis=1)[:, :k]
        squared[rows] = np.take_along_axis(together, nearest, axis=1)
        indices[rows] = np.take_along_axis(places, nearest, axis=1)
        limit = np.minimum(limit, squared[:, -1])
    return squared, indices


def _promising(own: Features, theirs: Features, k: int) -> tuple[Float64, Indices]:
    """What the k-th distance of each query does not exceed, squared, on [0, 1]; and images, promising ones first."""
    highest = np.full((len(own), k), np.float32(np.inf))
    promise = np.empty(len(theirs), dtype=np.float32)
    for part in in_batches(len(theirs), BOUNDED):
        lower, upper = own.bounds(theirs.take(part))
        together = np.concatenate([highest, upper], axis=1)
        highest = np.partition(together, k - 1, axis=1)[:, :k]
        with np.errstate(invalid="ignore"):
            promise[part] = np.nan_to_num(lower / highest.max(1)[:, None], nan=0.0).min(0)
    return highest.max(1).astype(np.float64), np.argsort(promise, kind="stable")


def _by_products(asked: _Asked, searched: Searched, k: int) -> tuple[Float64, Indices]:
    """Squared distances and positions of the k nearest, by products of pixels in float32."""
    count, values = len(searched), asked.flat.shape[1]
    squared, indices = np.empty((len(asked), k)), np.empty((len(asked), k), dtype=np.int64)
    blocks = _Blocks(asked, searched)
    pending, keep = np.arange(len(asked)), min(k + MARGIN, count)
    while len(pending):
        rows = max(1, min(QUERY_BYTES // (4 * values), QUERY_BYTES // (16 * keep)))
        missed = []
        for some in in_batches(len(pending), rows):
            part = pending[some]
            flat = (asked.flat[some] if len(pending) == len(asked) else asked.flat[part]).astype(np.float32, copy=False)
            found = find_candidates(flat, blocks, keep)
            exact = _exact(flat, blocks, found, k)
            order = np.lexsort((found.indices, exact))[:, :k]
            squared[part] = np.take_along_axis(exact, order, 1)
            indices[part] = np.take_along_axis(found.indices, order, 1)
            missed.append(part[squared[part, -1] >= found.excluded] if keep < count else part[:0])
        pending, keep = np.concatenate(missed), min(2 * keep, count)
    return squared, indices


@final
class _Blocks:
    """Blocks of the searched set, float32 in the unit of the queries; read once where the set fits into memory."""

    def __init__(self, asked: _Asked, searched: Searched) -> None:
        self._asked, self._searched = asked, searched
        size = asked.flat.shape[1] * asked.flat.itemsize
        self._rows = max(1, min(SEARCHED_ROWS, READ_BYTES // (4 * asked.flat.shape[1])))
        self._kept: list[Pixels] | None = [] if size * len(searched) <= HELD_BYTES else None

    def __iter__(self) -> Iterator[tuple[range, NDArray[np.float32]]]:
        for number, part in enumerate(in_batches(len(self._searched), self._rows)):
            positions = range(part.start, part.stop)
            if self._kept is not None and number < len(self._kept):
                images = self._kept[number]
            else:
                images = self._asked.read(self._searched, positions)
                if self._kept is not None:
                    self._kept.append(images)
            yield positions, images.astype(np.float32, copy=False)


def _exact(queries: NDArray[np.float32], blocks: _Blocks, found: Candidates, k: int) -> Float64:
    """Squared distances of all candidates that may be among the k nearest, infinite for the others: (queries, keep)."""
    kth = np.partition(found.squared, k - 1, axis=1)[:, k - 1]
    rows, columns = np.nonzero(found.squared <= (kth + 2.0 * found.error)[:, None])
    positions = found.indices[rows, columns]
    order = np.argsort(positions, kind="stable")
    exact = np.full(found.squared.shape, np.inf)
    for part, images in blocks:
        first, last = np.searchsorted(positions, [part.start, part.stop], sorter=order)
        here = np.sort(order[first:last])  # query by query, which keeps it in the processor's cache
        exact[rows[here], columns[here]] = pair_squares(queries, rows[here], images, positions[here] - part.start)
    return exact
