"""Which images may be the nearest? Float32 matrix products, a running threshold, and a bound on what they got wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TILE_BYTES = 32 * 2**20
PRODUCT_VALUES = 4096
ROUNDING = 2.0**-24


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
    """The `keep` images of smallest distance in float32 arithmetic.

    The error bound is that of a dot product summed in any order (Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1), with products of at most 4,096 values so that it stays small for large images.

    Args:
        queries: (q, values).
        blocks: parts of the searched set in order, each (its positions, (b, values)).
        keep: candidates for each query, at most the size of the set.
    """
    centre = queries.mean(0, dtype=np.float64).astype(np.float32)
    rows = _with_column(queries, centre, 1.0)
    rows[:, :-1] *= -2.0
    best = np.full((len(queries), keep), np.inf, dtype=np.float32)
    where = np.zeros((len(queries), keep), dtype=np.int64)
    buffer = np.empty(TILE_BYTES // 4, dtype=np.float32)
    longest = 0.0
    for part, images in blocks:
        columns = _with_column(images, centre, 0.0)
        norms = _squared_norms(columns)
        longest = max(longest, float(norms.max()))
        columns[:, -1] = norms  # so that one product gives |b|^2 - 2 a b
        tile = max(1, len(buffer) // len(images))
        for start in range(0, len(rows), tile):
            some = slice(start, start + tile)
            product = _product(rows[some], columns, buffer)
            _merge(best[some], where[some], product, part.start)
    norms = _squared_norms(rows[:, :-1]) / 4.0
    terms = min(rows.shape[1], PRODUCT_VALUES) + rows.shape[1] // PRODUCT_VALUES + 16
    error = 1.01 * terms * ROUNDING * (2.0 * np.sqrt(norms * longest) + longest)
    squared = best.astype(np.float64) + norms[:, None]
    return Candidates(where, squared, error, squared.max(1) - error)


def _with_column(images: NDArray[np.float32], centre: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    """Images about the centre, which limits cancellation, and one more column."""
    result = np.empty((len(images), images.shape[1] + 1), dtype=np.float32)
    np.subtract(images, centre, out=result[:, :-1])
    result[:, -1] = value
    return result


def _squared_norms(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """|row|^2 of every row."""
    norms: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return norms


def _product(a: NDArray[np.float32], b: NDArray[np.float32], buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dot products of all rows, (len(a), len(b)), summed over at most 4,096 values at a time; held in the buffer."""
    result = buffer[: len(a) * len(b)].reshape(len(a), len(b))
    np.matmul(a[:, :PRODUCT_VALUES], b[:, :PRODUCT_VALUES].T, out=result)
    for start in range(PRODUCT_VALUES, a.shape[1], PRODUCT_VALUES):
        part = slice(start, start + PRODUCT_VALUES)
        result += a[:, part] @ b[:, part].T
    return result


def _merge(best: NDArray[np.float32], where: NDArray[np.int64], distances: NDArray[np.float32], offset: int) -> None:
    """Put what is nearer than the farthest kept image in its place, row by row; in place."""
    count, keep = best.shape
    threshold = best.max(1)
    if np.isinf(threshold).any():
        together = np.concatenate([best, distances], axis=1)
        chosen = np.argpartition(together, keep - 1, axis=1)[:, :keep]
        known = np.take_along_axis(where, np.minimum(chosen, keep - 1), 1)
        where[:] = np.where(chosen < keep, known, chosen - keep + offset)
        best[:] = np.take_along_axis(together, chosen, 1)
        return
    rows, columns = np.divmod(np.flatnonzero(distances < threshold[:, None]), distances.shape[1])
    if not len(rows):
        return
    found = np.bincount(rows, minlength=count)
    place = keep + np.arange(len(rows)) - np.repeat(np.cumsum(found) - found, found)
    together = np.full((count, keep + found.max()), np.inf, dtype=np.float32)
    positions = np.zeros(together.shape, dtype=np.int64)
    together[:, :keep], positions[:, :keep] = best, where
    together[rows, place], positions[rows, place] = distances[rows, columns], columns + offset
    chosen = np.argpartition(together, keep - 1, axis=1)[:, :keep]
    best[:] = np.take_along_axis(together, chosen, 1)
    where[:] = np.take_along_axis(positions, chosen, 1)
