"""Kinds of training images that come back: how many near-copies each has, and how much of an outlier it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import Embedding, count_within, nearest_images
from pytest_diffprivacy.distances.neighbours import query_rows
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction.space import Space
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.slices import in_batches

OUTLIER_NEIGHBOURS = 10
ROWS = 1024


def eidetic_counts(members: ImageSet, extracted: NDArray[np.int64], delta: float) -> NDArray[np.int64]:
    """For each extracted image the k of (k, l2, delta)-eidetic memorization; small k is worse.

    Args:
        members: the whole training set, with repetitions.
        extracted: positions of the extracted images.
        delta: RMS distance on [0, 1] up to which another training image counts as a near-copy.

    Returns:
        int64 (extracted,): training images within delta, the image itself and every repetition counted.

    Source: Implements Carlini et al. 2023, Definition 2 (METHODS 1.1).
    """
    counts = np.zeros(len(extracted), dtype=np.int64)
    rows = min(ROWS, query_rows(2 * int(np.prod(members.image_shape))))
    for part in in_batches(len(extracted), rows):
        images = members.load(extracted[part].tolist())
        counts[part] = count_within(images, members, delta, repetitions=members.repetitions)
    return counts


def outlierness(
    members: ImageSet, *, embedding: Embedding | None = None, neighbours: int = OUTLIER_NEIGHBOURS
) -> NDArray[np.float64]:
    """How far each training image lies from the others: mean distance to its nearest distinct neighbours.

    Args:
        members: the training set.
        embedding: in whose space distances are taken (mean squared difference of unit vectors); None: RMS of pixels.
        neighbours: how many neighbours, at most the other distinct images.

    Returns:
        float64 (distinct members,); higher = more of an outlier.

    Raises:
        UsageError: fewer than two distinct images.

    Source: Follows Carlini et al. 2023, section 5.3 and Figure 20, except that the embedding is any.
    """
    if len(members) < 2:
        raise UsageError(f"Outliers are told from others only among at least 2 distinct images, got {len(members)}.")
    space, size = Space(members, embedding), min(neighbours, len(members) - 1)
    result = np.empty(len(members))
    for part, coordinates in space.searched.batches(query_rows(space.dimensions)):
        found = nearest_images(coordinates, space.searched, size + 1)
        itself = found.indices == np.arange(part.start, part.stop)[:, None]
        itself[~itself.any(1), -1] = True  # lost among equally near ones: leave out the farthest instead
        others = np.where(itself, 0.0, found.distances)
        result[part.start : part.stop] = others.sum(1) / size
    return result
