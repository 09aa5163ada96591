"""Space in which images are near each other: their own pixels, or the unit vectors of a copy detector."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import ArrayImages, Embedding, Neighbours, nearest_images
from pytest_diffprivacy.distances.neighbours import Searched
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.slices import in_batches

CHUNK = 256


@final
class Space:
    """Nearest images of a set in pixels, read block by block, or in an embedding, whose vectors are kept in memory.

    Distances are RMS over the coordinates, so that those of two spaces are not to be mixed.

    Args:
        images: the searched set.
        embedding: the copy detector; None: pixels.

    Attributes:
        searched: the set as a search reads it.
        dimensions: number of coordinates.
    """

    def __init__(self, images: ImageSet, embedding: Embedding | None = None) -> None:
        self.embedding = embedding
        self.searched: Searched = images
        self.dimensions = int(np.prod(images.image_shape))
        if embedding is not None:
            vectors = np.concatenate([self.coordinates(batch) for _, batch in images.batches(CHUNK)])
            self.searched, self.dimensions = ArrayImages(vectors), vectors.shape[1]

    def __len__(self) -> int:
        return len(self.searched)

    def coordinates(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where images (n, channels, height, width) lie: themselves, or (n, dimensions, 1, 1)."""
        if self.embedding is None:
            return images
        return self.embedding.vectors(images)[:, :, None, None]

    def nearest(self, images: NDArray[np.float32], k: int = 1) -> Neighbours:
        """The exact k nearest images of the set."""
        return nearest_images(self.coordinates(images), self.searched, k)


def distance_to_others(
    space: Space, training: ImageSet, indices: NDArray[np.int64], *, duplicate_distance: float
) -> NDArray[np.float64]:
    """How far each of some training images is from the nearest other one that is no duplicate of it.

    A generation g with nearest training image x is authentic iff d(g, x) > d(x, nearest other training image). A
    duplicate of x is at distance 0 and would make every generation authentic, so duplicates of x are no neighbours.

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
        for some in in_batches(len(pending), CHUNK):
            part = pending[some]
            found = space.nearest(training.load(indices[part].tolist()), k)
            others = found.distances > duplicate_distance
            settled = others.any(axis=1)
            first = np.take_along_axis(found.distances, others.argmax(axis=1)[:, None], axis=1)[:, 0]
            result[part[settled]] = first[settled]
            unsettled.append(part[~settled])
        pending = np.concatenate(unsettled)
        if len(pending) and k == len(space):
            raise UsageError(
                f"All {len(space)} training images are within {duplicate_distance:g} of each other: no neighbour is "
                "left. Lower duplicate_distance."
            )
        k = min(4 * k, len(space))
    return result
