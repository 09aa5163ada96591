"""In which region of the training set does an image lie, and how near to a training image there? Cells for C_T."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import ArrayImages, nearest_images
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction.space import Space
from pytest_diffprivacy.probes import ImageSet

CHUNK = 1024
STARTS = 10


@final
class Cells:
    """K-means cells of the training images in their leading principal components.

    Args:
        space: where images lie.
        training: the training images.
        cells: number of cells.
        components: principal components; fewer where images or coordinates are fewer.
        seed: of k-means.

    Raises:
        UsageError: fewer training images than cells.

    Source: Follows Meehan et al. 2020, section 4, with FLD's projection (METHODS 6.3).
    """

    def __init__(self, space: Space, training: ImageSet, *, cells: int, components: int, seed: int) -> None:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        if len(training) <= cells:
            raise UsageError(f"`cells` must be fewer than the {len(training)} training images, got {cells}.")
        self._space = space
        rows = np.concatenate([self._flat(batch) for _, batch in training.batches(CHUNK)])
        size = min(components, len(rows) - 1, rows.shape[1])
        self._projection: Any = PCA(size, svd_solver="full").fit(rows)
        projected = self._projection.transform(rows)
        self._kmeans: Any = KMeans(cells, n_init=STARTS, random_state=seed).fit(projected)
        labels = self._kmeans.labels_
        self._members = [ArrayImages(self._shaped(projected[labels == cell])) for cell in range(cells)]

    def place(self, images: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The cell of each image, and its distance to the nearest training image of that cell: (n,) each."""
        projected = self._projection.transform(self._flat(images))
        labels = np.asarray(self._kmeans.predict(projected), dtype=np.int64)
        distances = np.empty(len(projected))
        for cell in np.unique(labels):
            inside = labels == cell
            found = nearest_images(self._shaped(projected[inside]), self._members[cell], 1)
            distances[inside] = found.distances[:, 0]
        return labels, distances

    def _flat(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        coordinates = self._space.coordinates(images)
        return coordinates.reshape(len(coordinates), -1)

    @staticmethod
    def _shaped(rows: NDArray[Any]) -> NDArray[np.float32]:
        return np.ascontiguousarray(rows, dtype=np.float32)[:, :, None, None]
