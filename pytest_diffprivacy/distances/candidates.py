"""Candidates for the nearest images: float32 matrix products, a running limit, and a bound on their rounding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.slices import in_batches

TILE_BYTES = 32 * 2**20
GROUPS = 4
PRODUCT_VALUES = 4096
ROUNDING = 2.0**-24
POSITION = np.int64(2**32 - 1)
FARTHEST = np.int64(0x7F800000) << 32  # an infinite distance, as `_keys` writes it


@dataclass(frozen=True, slots=True)
class Candidates:
    """The images that look nearest in float32.

    Attributes:
        indices: int64 (queries, keep), positions in the searched set, in no order.
        squared: float64 (queries, keep), their squared Euclidean distances as float32 products give them.
        error: float64 (queries,), how far these can be from the truth.
        excluded: float64 (queries,), every image that was left out is at least this far, squared.
    """

    indices: NDArray[np.int64]
    squared: NDArray[np.float64]
    error: NDArray[np.float64]
    excluded: NDArray[np.float64]


def find_candidates(
    queries: NDArray[np.float32], blocks: Iterable[tuple[range, NDArray[np.float32]]], keep: int
) -> Candidates:
    """The `keep` images of smallest distance in float32 arithmetic, from blocks (positions, (b, values)).

    The error bound is that of a dot product summed in any order (Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1), with products of at most 4,096 values so that it stays small for large images.
    """
    centre = queries.mean(0, dtype=np.float64).astype(np.float32)
    rows = _with_column(queries, centre, np.empty((len(queries), queries.shape[1] + 1), dtype=np.float32))
    norms = _squared_norms(rows[:, :-1])
    rows[:, :-1] *= -2.0
    rows[:, -1] = 1.0
    best = np.full((len(queries), keep), FARTHEST)
    buffer, held = np.empty(TILE_BYTES // 4, dtype=np.float32), rows[:0]
    longest = 0.0
    for part, images in blocks:
        held = held if len(held) >= len(images) else np.empty((len(images), rows.shape[1]), dtype=np.float32)
        columns = _with_column(images, centre, held)
        columns[:, -1] = _squared_norms(columns[:, :-1])  # so that one product gives |b|^2 - 2 a b
        longest = max(longest, float(columns[:, -1].max()))
        most = max(1, len(buffer) // len(images))
        for some in in_batches(len(rows), -(-len(rows) // -(-len(rows) // most))):  # tiles of one size
            _merge(best[some], _product(columns, rows[some], buffer), part.start)
    terms = min(rows.shape[1], PRODUCT_VALUES) + rows.shape[1] // PRODUCT_VALUES + 16
    error = 1.01 * terms * ROUNDING * (2.0 * np.sqrt(norms * longest) + longest)
    squared = _values(best).astype(np.float64) + norms[:, None]
    return Candidates(best & POSITION, squared, error, squared.max(1) - error)


def _with_column(
    images: NDArray[np.float32], centre: NDArray[np.float32], held: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Images about the centre, which limits cancellation, and one more column, in memory that is held already."""
    result = held[: len(images)]
    np.subtract(images, centre, out=result[:, :-1])
    return result


def _squared_norms(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """|row|^2 of every row."""
    norms: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return norms


def _product(a: NDArray[np.float32], b: NDArray[np.float32], buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dot products of all rows, (len(a), len(b)), summed over at most 4,096 values at a time; held in the buffer."""
    result = buffer[: len(a) * len(b)].reshape(len(a), len(b))
    first, *others = in_batches(a.shape[1], PRODUCT_VALUES)
    np.matmul(a[:, first], b[:, first].T, out=result)
    for part in others:
        result += a[:, part] @ b[:, part].T
    return result


def _merge(best: NDArray[np.int64], distances: NDArray[np.float32], offset: int) -> None:
    """Put images of a tile (images, queries) that are nearer than the farthest kept one in its place; in place.

    Only what is below a limit counts: the farthest kept image, or, while too few are kept, the largest of `keep`
    values of this tile, each the smallest of a group of images.
    """
    queries, keep = best.shape
    farthest = best.max(1)
    limit = _values(farthest)
    if (farthest == FARTHEST).any():
        limit = np.nextafter(_upper_limit(distances, keep), np.float32(np.inf))
    near, query = np.divmod(np.flatnonzero(distances < limit), queries)
    if not len(near):
        return
    found = np.bincount(query, minlength=queries)
    if queries > 1 and 8 * queries * (keep + found.max()) > TILE_BYTES:  # many equal images
        for half in (slice(0, queries // 2), slice(queries // 2, queries)):
            _merge(best[half], distances[:, half], offset)
        return
    keys = _keys(distances[near, query], near + offset)
    order = np.argsort(query, kind="stable")
    query = query[order]
    together = np.full((queries, keep + found.max()), FARTHEST)
    together[:, :keep] = best
    together[query, keep + np.arange(len(query)) - np.repeat(np.cumsum(found) - found, found)] = keys[order]
    together.partition(keep - 1, axis=1)
    best[:] = together[:, :keep]


def _upper_limit(distances: NDArray[np.float32], keep: int) -> NDArray[np.float32]:
    """What the `keep` nearest images of a tile (images, queries) do not exceed: (queries,)."""
    groups = GROUPS * keep
    size = len(distances) // groups
    if size < 2:
        return np.full(distances.shape[1], np.inf, dtype=np.float32)
    least = distances[: groups * size].reshape(groups, size, -1).min(1)
    smallest: NDArray[np.float32] = np.partition(least.T, keep - 1, axis=1)[:, keep - 1]
    return smallest


def _keys(values: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers in the order of the values, equal values in the order of their positions."""
    bits = values.view(np.int32)
    ordered = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    return ordered.astype(np.int64) << 32 | positions


def _values(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """The values that are in the keys."""
    ordered = (keys >> 32).astype(np.int32)
    bits: NDArray[np.int32] = np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered)
    return bits.view(np.float32)
