"""In which space are images near each other? Their own pixels, or the unit vectors of a copy detector."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import ArrayImages, Embedding, Neighbours, Searched, nearest_images
from pytest_diffprivacy.probes import ImageSet

CHUNK = 256


@final
class Space:
    """Nearest images of a set in pixels, read block by block, or in an embedding, whose vectors are kept in memory.

    Distances are RMS over the coordinates, so that those of two spaces are not to be mixed.

    Args:
        images: the searched set.
        embedding: the copy detector; None: pixels.
    """

    def __init__(self, images: ImageSet, embedding: Embedding | None = None) -> None:
        self.embedding = embedding
        self._searched: Searched = images
        self._dimensions = int(np.prod(images.image_shape))
        if embedding is not None:
            vectors = np.concatenate([self.coordinates(batch) for _, batch in images.batches(CHUNK)])
            self._searched, self._dimensions = ArrayImages(vectors), vectors.shape[1]

    def __len__(self) -> int:
        return len(self._searched)

    @property
    def dimensions(self) -> int:
        """Number of coordinates."""
        return self._dimensions

    def coordinates(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where images (n, channels, height, width) lie: themselves, or (n, dimensions, 1, 1)."""
        if self.embedding is None:
            return images
        return self.embedding.vectors(images)[:, :, None, None]

    def nearest(self, images: NDArray[np.float32], k: int = 1) -> Neighbours:
        """The exact k nearest images of the set."""
        return nearest_images(self.coordinates(images), self._searched, k)
