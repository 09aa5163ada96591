"""Which training images are nearest to a generation? Exact search over all of them, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.errors import UsageError

MARGIN = 16
QUERY_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest images of each query, nearest first.

    Attributes:
        indices: int64 (queries, k), positions in the searched set.
        distances: float64 (queries, k), RMS pixel differences on [0, 1].
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


def nearest_images(queries: NDArray[np.float32], blocks: Iterable[NDArray[np.float32]], k: int) -> Neighbours:
    """The exact k nearest images by RMS distance.

    Candidates come from a float32 matrix product over blocks (k and a margin are kept), their distances are then
    recomputed as sums of squared differences in float64, so that near-copies are not lost to cancellation. Memory is
    bounded by one block and the candidates.

    Args:
        queries: (q, channels, height, width) in [0, 1].
        blocks: the searched images in order, (b, channels, height, width) a block.
        k: neighbours wanted; must not exceed the number of searched images.

    Raises:
        UsageError: shapes differ, or k is larger than the set.
    """
    flat = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32)).flatten(1)
    width = flat.shape[1]
    best = torch.full((len(flat), 0), torch.inf, dtype=torch.float64)
    where = torch.zeros((len(flat), 0), dtype=torch.int64)
    offset = 0
    for block in blocks:
        if tuple(block.shape[1:]) != tuple(queries.shape[1:]):
            raise UsageError(f"Searched images must have shape {queries.shape[1:]}, got {block.shape[1:]}.")
        images = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32)).flatten(1)
        keep = min(k + MARGIN, len(images))
        rows_best, rows_where = [], []
        for start in range(0, len(flat), QUERY_BLOCK):
            part = flat[start : start + QUERY_BLOCK]
            candidates = _squared(part, images).topk(keep, dim=1, largest=False).indices
            exact = (part[:, None, :].double() - images[candidates].double()).square().sum(2)
            distances = torch.cat([best[start : start + QUERY_BLOCK], exact], 1)
            indices = torch.cat([where[start : start + QUERY_BLOCK], candidates + offset], 1)
            order = distances.argsort(dim=1, stable=True)[:, :k]
            rows_best.append(distances.gather(1, order))
            rows_where.append(indices.gather(1, order))
        best, where = torch.cat(rows_best), torch.cat(rows_where)
        offset += len(images)
    if not 1 <= k <= offset:
        raise UsageError(f"`k` must be between 1 and the {offset} searched images, got {k!r}.")
    return Neighbours(where.numpy(), (best / width).sqrt().numpy())


def _squared(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances (len(a), len(b)) in float32, about a common centre to limit cancellation."""
    centre = b.mean(0, keepdim=True)
    a, b = a - centre, b - centre
    return torch.addmm((a * a).sum(1, keepdim=True) + (b * b).sum(1), a, b.T, alpha=-2.0)
