"""Space in which images are near each other: pixels, or a copy detector's vectors; where training images lie in it."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import ArrayImages, Embedding, Neighbours, count_within, nearest_images
from pytest_diffprivacy.distances.bounds import Features, Pixels
from pytest_diffprivacy.distances.neighbours import LARGE_SIDE, READ_BYTES, Searched, query_rows
from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.slices import in_batches


def read_rows(images: ImageSet) -> int:
    """How many images of a set are read at once as float32."""
    return max(1, READ_BYTES // (4 * int(np.prod(images.image_shape))))


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
            vectors = np.concatenate([self.coordinates(batch) for _, batch in images.batches(read_rows(images))])
            self.searched, self.dimensions = ArrayImages(vectors), vectors.shape[1]

    def __len__(self) -> int:
        return len(self.searched)

    def coordinates(self, images: Pixels) -> Pixels:
        """Where images (n, channels, height, width) lie: themselves, or (n, dimensions, 1, 1)."""
        if self.embedding is None:
            return images
        size = max(1, READ_BYTES // (4 * images[:1].size))
        parts = [self.embedding.vectors(floats_of(images[part])) for part in in_batches(len(images), size)]
        return np.concatenate(parts)[:, :, None, None]

    def nearest(self, images: Pixels, k: int = 1) -> Neighbours:
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
        for some in in_batches(len(pending), query_rows(training)):
            part = pending[some]
            found = space.nearest(training.pixels(indices[part].tolist()), k)
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


OUTLIER_NEIGHBOURS = 10


def pooled(shape: tuple[int, ...]) -> bool:
    """Whether images are so large that they are averaged before all are compared with all."""
    return min(shape[1:]) >= LARGE_SIDE


def pooled_images(features: Features, shape: tuple[int, ...]) -> ArrayImages:
    """Images averaged to at most 32 x 32 a channel, as points (n, values, 1, 1) whose RMS distances are theirs."""
    scale = np.float32(np.sqrt(features.means / np.prod(shape)))
    points = scale * features.values[:, : features.means]
    return ArrayImages(points[:, :, None, None])


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
    for part in in_batches(len(extracted), query_rows(members)):
        images = members.pixels(extracted[part].tolist())
        counts[part] = count_within(images, members, delta, repetitions=members.repetitions)
    return counts


def outlierness(
    members: ImageSet, *, embedding: Embedding | None = None, neighbours: int = OUTLIER_NEIGHBOURS
) -> NDArray[np.float64]:
    """How far each training image lies from the others: mean distance to its nearest distinct neighbours.

    Images of 64 pixels and more a side are averaged first, to at most 32 x 32 a channel: none is read.

    Args:
        members: the training set.
        embedding: in whose space distances are taken (mean squared difference of unit vectors); None: RMS of pixels.
        neighbours: how many neighbours, at most the other distinct images.

    Returns:
        float64 (distinct members,); higher = more of an outlier.

    Raises:
        UsageError: fewer than two distinct images.

    Source: Follows Carlini et al. 2023, section 5.3 and Figure 20, except that the embedding is any, and that large
    images are averaged.
    """
    if len(members) < 2:
        raise UsageError(
            f"`members` must be at least 2 distinct images, to tell outliers, got {len(members)}. Give more."
        )
    size, result = min(neighbours, len(members) - 1), np.empty(len(members))
    searched: Searched = Space(members, embedding).searched
    if embedding is None and pooled(members.image_shape):
        searched = pooled_images(members.features, members.image_shape)
    for part in in_batches(len(members), query_rows(searched)):
        found = nearest_images(searched.pixels(range(part.start, part.stop)), searched, size + 1)
        itself = found.indices == np.arange(part.start, part.stop)[:, None]
        itself[~itself.any(1), -1] = True  # lost among equally near ones: leave out the farthest instead
        others = np.where(itself, 0.0, found.distances)
        result[part.start : part.stop] = others.sum(1) / size
    return result
