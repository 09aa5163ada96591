"""Replication metrics: whether generations as a whole lie nearer to the training set than unseen images do.

Nearest-neighbour distances shrink with the size of the searched set, so everything is measured against as many training
images as there are unseen ones, and once more with the unseen images in place of the generations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import ArrayImages, Embedding, nearest_images, pixel_embedding
from pytest_diffprivacy.distances.bounds import Pixels, features_of
from pytest_diffprivacy.distances.neighbours import query_rows
from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.extraction.adaptive import DUPLICATE_DELTA, Search, adaptive_distances, joined
from pytest_diffprivacy.extraction.generate_and_filter import interim_blocks
from pytest_diffprivacy.extraction.space import Space, distance_to_others, pooled, pooled_images
from pytest_diffprivacy.methods import Access, Kind, Published, register
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.slices import in_batches

SMALLEST = 10
CELLS = 3
COMPONENTS = 64
EQUAL = 1e-6
STARTS = 10

REPLICATION = Published(
    name="replication",
    title="Distance to the closest record, training set against holdout",
    access=Access.BLACK_BOX,
    source="METHODS 6.2 to 6.5; Meehan et al. 2020, Alaa et al. 2022, Somepalli et al. 2023",
    kind=Kind.EXTRACTION,
    built_by="assert_not_closer_to_members(model, probes)",
    claim="not_closer_to_members",
    asks="Are generations closer to training images than to images that were never used?",
)
register(REPLICATION)


@dataclass(frozen=True, slots=True)
class Against:
    """How images lie to the training set; one entry an image.

    Attributes:
        distances: float64, to the nearest training image; lower = closer.
        nearest: int64, which one.
        authentic: bool, farther from it than it is from the other training images; False speaks for a copy.
        ratios: float64, adaptive distance (kNN ratio) in pixels; lower = closer.
        similarities: float64, largest cosine to a training image; **higher = more similar**.
        cells: int64, cell of the training set.
        cell_distances: float64, to the nearest training image of that cell.
    """

    distances: NDArray[np.float64]
    nearest: NDArray[np.int64]
    authentic: NDArray[np.bool_]
    ratios: NDArray[np.float64]
    similarities: NDArray[np.float64]
    cells: NDArray[np.int64]
    cell_distances: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Replication:
    """Generations, and unseen images in their place, against the training set.

    Attributes:
        generations: the generations.
        unseen: the holdout in place of generations.
        holdout_distances: float64, of each generation to the nearest unseen image.
        nearest_holdout: int64, which one.
        background: float64, of each training image the largest cosine to another one.
        records: images of each side.
        cells: number of cells.
        space: "pixels" or the embedding's name.
        similarity: name of the embedding of the similarities.
    """

    generations: Against
    unseen: Against
    holdout_distances: NDArray[np.float64]
    nearest_holdout: NDArray[np.int64]
    background: NDArray[np.float64]
    records: int
    cells: int
    space: str
    similarity: str


def equal_sides(probes: ProbeSet, *, seed: int) -> tuple[ImageSet, ImageSet]:
    """As many distinct training images as unseen ones, the larger side thinned at random.

    Raises:
        ProbeError: fewer than 10 a side.

    Source: METHODS 6 (a holdout of the same size).
    """
    size = min(len(probes.members), len(probes.nonmembers))
    if size < SMALLEST:
        raise ProbeError(
            f"Replication metrics need at least {SMALLEST} members and non-members, got {size}. Add images."
        )
    return probes.members.drawn(size, seed, 7), probes.nonmembers.drawn(size, seed, 8)


def measure_replication(
    generations: Iterable[Pixels],
    training: ImageSet,
    holdout: ImageSet,
    *,
    embedding: Embedding | None = None,
    duplicate_delta: float = DUPLICATE_DELTA,
    cells: int = CELLS,
    seed: int = 0,
    search: Search = adaptive_distances,
) -> Replication:
    """Place generations, and unseen images in their place, among the training images.

    Args:
        generations: blocks (n, channels, height, width), uint8 or in [0, 1]; as many are held as one search takes.
        training: training images, as many as unseen ones.
        holdout: unseen images.
        embedding: a copy detector that decides what is near; None: pixels, with pixels at 32x32 for similarities.
        duplicate_delta: RMS pixel distance up to which training images are duplicates of each other; in an embedding
            only equal vectors are.
        cells: cells of the training set for C_T, formed in its 64 principal components.
        seed: of k-means.
        search: finds the nearest images in pixels.

    Raises:
        ProbeError: the two sets differ in size.
        UsageError: fewer training images than cells, or training images that are all duplicates.

    Source: METHODS 6.2 to 6.5.
    """
    if len(training) != len(holdout):
        raise ProbeError(f"`holdout` must hold as many images as `training` ({len(training)}), got {len(holdout)}.")
    here = _Training(training, embedding, duplicate_delta, cells, seed)
    here.search = search if duplicate_delta == DUPLICATE_DELTA else here.search
    elsewhere = Space(holdout, embedding)
    parts, others = [], []
    for block in interim_blocks(generations, most=query_rows(training), looks=()):
        parts.append(here.against(block))
        others.append(elsewhere.nearest(block))
    unseen = [here.against(batch) for batch in _asked(holdout)]
    return Replication(
        generations=joined(parts),
        unseen=joined(unseen),
        holdout_distances=np.concatenate([found.distances[:, 0] for found in others]),
        nearest_holdout=np.concatenate([found.indices[:, 0] for found in others]),
        background=np.concatenate([here.similarities(batch, 1) for batch in _asked(training)]),
        records=len(training),
        cells=cells,
        space="pixels" if embedding is None else embedding.name,
        similarity=here.similarity.name,
    )


def _asked(images: ImageSet) -> Iterator[Pixels]:
    """All images of a set, as many at once as one search takes."""
    for part in in_batches(len(images), query_rows(images)):
        yield images.pixels(range(part.start, part.stop))


class _Training:
    """The training images, and how others lie to them."""

    def __init__(
        self, images: ImageSet, embedding: Embedding | None, duplicate_delta: float, cells: int, seed: int
    ) -> None:
        self._images, self._duplicate_delta = images, duplicate_delta
        self.search: Search = partial(adaptive_distances, duplicate_delta=duplicate_delta)
        self._space = Space(images, embedding)
        self._cells = Cells(self._space, images, cells=cells, components=COMPONENTS, seed=seed)
        self.similarity = embedding or pixel_embedding()
        self._similar = self._space if embedding else Space(images, self.similarity)
        self._to_others = np.full(len(images), np.nan)

    def against(self, block: Pixels) -> Against:
        """How a block of images lies to them."""
        matches = self.search(block, self._images)
        distances, nearest = matches.l2, matches.nearest
        if self._space.embedding is not None:
            found = self._space.nearest(block)
            distances, nearest = found.distances[:, 0], found.indices[:, 0]
        new = np.unique(nearest[np.isnan(self._to_others[nearest])])
        if len(new):
            duplicate = self._duplicate_delta if self._space.embedding is None else EQUAL
            self._to_others[new] = distance_to_others(self._space, self._images, new, duplicate_distance=duplicate)
        labels, inside = self._cells.place(block)
        return Against(
            distances=distances,
            nearest=nearest,
            authentic=distances > self._to_others[nearest],
            ratios=matches.adaptive,
            similarities=self.similarities(block, 0),
            cells=labels,
            cell_distances=inside,
        )

    def similarities(self, block: Pixels, place: int) -> NDArray[np.float64]:
        """Cosine to the most similar image, or with place = 1 to the second: of unit vectors 1 - distance^2 / 2."""
        found = self._similar.nearest(block, place + 1)
        squared = found.distances[:, place] ** 2 * self._similar.dimensions
        return 1.0 - squared / 2.0


@final
class Cells:
    """K-means cells of the training images in their leading principal components.

    Images of 64 pixels and more a side are averaged first, to at most 32 x 32 a channel.

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
        self._pooled = space.embedding is None and pooled(training.image_shape)
        if self._pooled:
            rows = _flat_points(pooled_images(training.features, training.image_shape))
        else:
            rows = np.concatenate([self._flat(batch) for batch in _asked(training)])
        size = min(components, len(rows) - 1, rows.shape[1])
        self._projection: Any = PCA(size, svd_solver="full").fit(rows)
        projected = self._projection.transform(rows)
        self._kmeans: Any = KMeans(cells, n_init=STARTS, random_state=seed).fit(projected)
        labels = self._kmeans.labels_
        self._members = [ArrayImages(self._shaped(projected[labels == cell])) for cell in range(cells)]

    def place(self, images: Pixels) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The cell of each image, and its distance to the nearest training image of that cell: (n,) each."""
        projected = self._projection.transform(self._flat(images))
        labels = np.asarray(self._kmeans.predict(projected), dtype=np.int64)
        distances = np.empty(len(projected))
        for cell in np.unique(labels):
            inside = labels == cell
            found = nearest_images(self._shaped(projected[inside]), self._members[cell], 1)
            distances[inside] = found.distances[:, 0]
        return labels, distances

    def _flat(self, images: Pixels) -> NDArray[np.float32]:
        if self._pooled:
            return _flat_points(pooled_images(features_of(images), images.shape[1:]))
        coordinates = floats_of(self._space.coordinates(images))
        return coordinates.reshape(len(coordinates), -1)

    @staticmethod
    def _shaped(rows: NDArray[Any]) -> NDArray[np.float32]:
        return np.ascontiguousarray(rows, dtype=np.float32)[:, :, None, None]


def _flat_points(points: ArrayImages) -> NDArray[np.float32]:
    return floats_of(points.pixels(range(len(points)))).reshape(len(points), -1)
