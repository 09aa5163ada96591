"""Is a generation nearer to its nearest training image than any other training image is? Then it is not authentic.

A generation g with nearest training image x is authentic iff d(g, x) > d(x, nearest other training image). A duplicate
of x is at distance 0 and would make every generation authentic, so duplicates of x are no neighbours here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction.space import Space
from pytest_diffprivacy.probes import ImageSet

ASKED = 256


def distance_to_others(
    space: Space, training: ImageSet, indices: NDArray[np.int64], *, duplicate_distance: float
) -> NDArray[np.float64]:
    """How far each of some training images is from the nearest other one that is no duplicate of it.

    Args:
        space: the training images' space.
        training: the training images.
        indices: which of them.
        duplicate_distance: up to this distance in the space an image is a duplicate and no neighbour.

    Returns:
        float64 (len(indices),), lower = closer.

    Raises:
        UsageError: an image has no neighbour that is no duplicate.

    Source: Follows Alaa et al. 2022 (authenticity), except that duplicates are left out (METHODS 6.4).
    """
    result = np.empty(len(indices))
    pending, k = np.arange(len(indices)), min(8, len(space))
    while len(pending):
        unsettled = []
        for start in range(0, len(pending), ASKED):
            part = pending[start : start + ASKED]
            found = space.nearest(training.load(indices[part].tolist()), k)
            others = found.distances > duplicate_distance
            some = others.any(axis=1)
            first = np.take_along_axis(found.distances, others.argmax(axis=1)[:, None], axis=1)[:, 0]
            result[part[some]] = first[some]
            unsettled.append(part[~some])
        pending = np.concatenate(unsettled)
        if len(pending) and k == len(space):
            raise UsageError(
                f"All {len(space)} training images are within {duplicate_distance:g} of each other: no neighbour is "
                "left. Lower duplicate_distance."
            )
        k = min(4 * k, len(space))
    return result
