"""Nearest images, and how many are near: exact search over a whole set in a fixed amount of memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.distances.candidates import Candidates, find_candidates
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.slices import in_batches

Block: TypeAlias = tuple[range, NDArray[np.float32]]

QUERY_BYTES = 64 * 2**20
SEARCHED_BYTES = 48 * 2**20
SEARCHED_ROWS = 4096
EXACT_BYTES = 2**20
MARGIN = 16
COUNTED_BYTES = 64 * 2**20
COUNTED_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest images of each query, nearest first, equally near ones in their order.

    Attributes:
        indices: int64 (queries, k), positions in the searched set.
        distances: float64 (queries, k), RMS pixel differences on [0, 1].
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


class Searched(Protocol):
    """Images that can be read in order, again and again; an ImageSet is one."""

    def __len__(self) -> int: ...

    def batches(self, size: int) -> Iterator[Block]:
        """All images in order, `size` at a time, float32 (n, channels, height, width) in [0, 1]."""
        ...


@final
class ArrayImages:
    """An array (n, channels, height, width) in [0, 1] as a searched set."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[Block]:
        """Views of the array."""
        for part in in_batches(len(self), size):
            yield range(part.start, part.stop), self._images[part]


def query_rows(image_values: int) -> int:
    """How many queries of so many values are searched for in one reading of the searched set."""
    return max(1, QUERY_BYTES // (4 * image_values))


def nearest_images(queries: NDArray[np.float32], searched: Searched, k: int) -> Neighbours:
    """The exact k nearest images by RMS distance.

    Candidates come from float32 matrix products with a bound on their rounding error. The distances of all that may
    belong to the k nearest are computed again as float64 sums of squared differences, in a second reading, so that no
    cancellation reorders them; where the bound cannot rule out that one was missed, the query is searched for again
    with more candidates. Memory beyond the queries and the result does not grow with either side.

    Args:
        queries: (q, channels, height, width) in [0, 1].
        searched: the images to search.
        k: neighbours wanted; must not exceed the number of searched images.

    Raises:
        UsageError: shapes differ, or k is larger than the set.
    """
    count = len(searched)
    if not 1 <= k <= count:
        raise UsageError(f"`k` must be between 1 and the {count} searched images, got {k!r}.")
    indices = np.empty((len(queries), k), dtype=np.int64)
    squared = np.empty((len(queries), k))
    values = int(np.prod(queries.shape[1:]))
    blocks = _Blocks(searched, min(SEARCHED_ROWS, SEARCHED_BYTES // (4 * values)), queries.shape[1:])
    pending, keep = np.arange(len(queries)), min(k + MARGIN, count)
    while len(pending):
        rows = max(1, min(query_rows(values), QUERY_BYTES // (16 * keep)))
        missed = []
        for some in in_batches(len(pending), rows):
            part = pending[some]
            chosen = queries[some] if len(pending) == len(queries) else queries[part]
            flat = np.ascontiguousarray(chosen, dtype=np.float32).reshape(len(part), -1)
            found = find_candidates(flat, blocks, keep)
            exact = _exact(flat, blocks, found, k)
            order = np.lexsort((found.indices, exact))[:, :k]
            squared[part] = np.take_along_axis(exact, order, 1)
            indices[part] = np.take_along_axis(found.indices, order, 1)
            missed.append(part[squared[part, -1] >= found.excluded] if keep < count else part[:0])
        pending, keep = np.concatenate(missed), min(2 * keep, count)
    return Neighbours(indices, np.sqrt(squared / values))


def count_within(
    queries: NDArray[np.float32], searched: Searched, radius: float, *, repetitions: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """For each query the number of searched images within an RMS distance, counted as often as they are repeated.

    Args:
        queries: (q, channels, height, width) in [0, 1].
        searched: the images to count.
        radius: the largest RMS distance that counts, on [0, 1].
        repetitions: int64 (len(searched),), how often each image counts; None: once.

    Returns:
        int64 (q,).

    Raises:
        UsageError: shapes differ.
    """
    values = int(np.prod(queries.shape[1:]))
    weights = torch.ones(len(searched), dtype=torch.int64) if repetitions is None else torch.from_numpy(repetitions)
    flat = torch.from_numpy(np.ascontiguousarray(queries)).flatten(1).double()
    norms, counts = flat.square().sum(1, keepdim=True), torch.zeros(len(flat), dtype=torch.int64)
    for part, images in _Blocks(searched, min(COUNTED_ROWS, COUNTED_BYTES // (8 * values)), queries.shape[1:]):
        block = torch.from_numpy(images).double()
        squared = torch.addmm(norms + block.square().sum(1), flat, block.T, alpha=-2.0)
        counts += torch.where(squared <= radius**2 * values, weights[part.start : part.stop], 0).sum(1)
    return counts.numpy()


@final
class _Blocks:
    """Flat blocks of the searched set, read again each time; a set of one block is read once."""

    def __init__(self, searched: Searched, size: int, shape: tuple[int, ...]) -> None:
        self._searched, self._size, self._shape = searched, max(1, size), shape
        self._kept = list(self._read()) if len(searched) <= size else None

    def __iter__(self) -> Iterator[Block]:
        return iter(self._kept) if self._kept is not None else self._read()

    def _read(self) -> Iterator[Block]:
        for part, images in self._searched.batches(self._size):
            if tuple(images.shape[1:]) != self._shape:
                raise UsageError(f"Searched images must have shape {self._shape}, got {tuple(images.shape[1:])}.")
            yield part, np.ascontiguousarray(images, dtype=np.float32).reshape(len(images), -1)


def _exact(queries: NDArray[np.float32], blocks: Iterable[Block], found: Candidates, k: int) -> NDArray[np.float64]:
    """Squared distances of all candidates that may be among the k nearest, infinite for the others: (queries, keep)."""
    kth = np.partition(found.squared, k - 1, axis=1)[:, k - 1]
    rows, columns = np.nonzero(found.squared <= (kth + 2.0 * found.error)[:, None])
    positions = found.indices[rows, columns]
    order = np.argsort(positions, kind="stable")
    exact = np.full(found.squared.shape, np.inf)
    for part, images in blocks:
        first, last = np.searchsorted(positions, [part.start, part.stop], sorter=order)
        here = np.sort(order[first:last])  # query by query, which keeps it in the processor's cache
        exact[rows[here], columns[here]] = _squared(queries, rows[here], images, positions[here] - part.start)
    return exact


def _squared(
    queries: NDArray[np.float32], rows: NDArray[np.int64], images: NDArray[np.float32], positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sums of squared differences in float64 of pairs (queries[rows[i]], images[positions[i]])."""
    pairs, values = max(1, EXACT_BYTES // (8 * queries.shape[1])), queries.shape[1]
    result = np.empty(len(rows))
    held = np.empty((pairs, values))
    left, right = torch.empty((2, pairs, values))
    sources, targets, doubled = torch.from_numpy(queries), torch.from_numpy(images), torch.from_numpy(held)
    one, other = torch.from_numpy(rows), torch.from_numpy(positions)
    for some in in_batches(len(rows), pairs):  # in memory that is held already: fresh pages cost more than the sums
        size = some.stop - some.start
        torch.index_select(sources, 0, one[some], out=left[:size])
        torch.index_select(targets, 0, other[some], out=right[:size])
        doubled[:size].copy_(right[:size].sub_(left[:size]))
        difference = held[:size]
        np.matmul(difference[:, None], difference[:, :, None], out=result[some].reshape(-1, 1, 1))
    return result
