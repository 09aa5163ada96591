"""How many images of a set are near to one? Counted over the whole set, repetitions included, a block at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.distances.neighbours import Searched
from pytest_diffprivacy.errors import UsageError

BLOCK_BYTES = 64 * 2**20
BLOCK_ROWS = 2048


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
    for part, images in searched.batches(max(1, min(BLOCK_ROWS, BLOCK_BYTES // (8 * values)))):
        if images.shape[1:] != queries.shape[1:]:
            raise UsageError(f"Searched images must have shape {queries.shape[1:]}, got {images.shape[1:]}.")
        block = torch.from_numpy(np.ascontiguousarray(images)).flatten(1).double()
        squared = torch.addmm(norms + block.square().sum(1), flat, block.T, alpha=-2.0)
        counts += torch.where(squared <= radius**2 * values, weights[part.start : part.stop], 0).sum(1)
    return counts.numpy()
