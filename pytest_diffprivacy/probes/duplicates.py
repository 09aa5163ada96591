"""Which images are copies or near-copies of each other? Clusters with counts, inside one set or across several.

A training set's duplicates are what a model memorizes first; a near-copy on both sides of a split makes a non-member a
member. Exact copies have equal pixels. Near-copies are within a distance of each other that the caller declares, and so
are images that are linked by a chain of near-copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import networkx
import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.distances.hashes import BITS, perceptual_hashes
from pytest_diffprivacy.distances.near_pairs import NearPairs, near_pairs
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.probes.image_set import ImageSet

NEAR = 0.02
CHUNK = 256
ROUNDING = 1e-6
"""Of the squared distance of two equal unit vectors in float32."""

Load: TypeAlias = Callable[[Sequence[int]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Images that are copies or near-copies of each other.

    Attributes:
        places: (set, position) of every distinct image in it, in order.
        ids: their names for records, never a path.
        counts: how often each set holds one of them, repetitions included: one number a set.
    """

    places: tuple[tuple[int, int], ...]
    ids: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Images in it, repetitions included."""
        return sum(self.counts)

    @property
    def across(self) -> bool:
        """Whether it has images of more than one set."""
        return sum(count > 0 for count in self.counts) > 1


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What a search for duplicates found.

    Attributes:
        clusters: every cluster of at least two images, exact copies counted; the largest first.
        labels: one array a set, int64 (distinct images,): images of one cluster have one label, over all sets.
        exact: number of images that equal an earlier one of their own set pixel by pixel.
        rule: what counted as a near-copy, in words.
        embedding: name of the embedding that decided, "" where pixels did.
        embedding_digest: its digest, "" likewise.
    """

    clusters: tuple[Cluster, ...]
    labels: tuple[NDArray[np.int64], ...]
    exact: int
    rule: str
    embedding: str
    embedding_digest: str

    @property
    def across(self) -> tuple[Cluster, ...]:
        """The clusters with images of more than one set."""
        return tuple(cluster for cluster in self.clusters if cluster.across)

    @property
    def distinct(self) -> int:
        """Images that are left if each cluster counts once: the effective number of images."""
        return len(np.unique(np.concatenate(self.labels)))


def find_duplicates(
    *sets: ImageSet,
    max_distance: float = NEAR,
    embedding: Embedding | None = None,
    min_similarity: float | None = None,
    hash_bits: int | None = None,
) -> Duplicates:
    """Find the exact and near-copies in sets of images, and across them.

    Args:
        sets: one training set; or members and non-members.
        max_distance: RMS pixel difference on [0, 1] up to which two images are near-copies; left alone where an
            embedding decides. 0 finds equal pixels only.
        embedding: a copy detector that decides instead of pixels, e.g. `torchscript_embedding(...)`.
        min_similarity: cosine from which on it calls two images copies, in (0, 1]; required with an embedding, since it
            belongs to the detector.
        hash_bits: compare only pairs whose perceptual hashes differ in at most this many of 63 bits. Much faster on
            large images, but it misses copies that are mirrored, cut or recoloured; None: every pair is compared.

    Returns:
        Clusters and labels. Memory grows with the number of images, not of pairs.

    Raises:
        UsageError: no set, or an argument out of range.
        ProbeError: sets of different image sizes, where pixels decide.

    Source: Follows Carlini et al. 2023, sections 4.2 and 5.2 (duplicates by embedding, by l2), with METHODS 7.10.
    """
    _check(sets, max_distance, embedding, min_similarity, hash_bits)
    pool = _Pool(sets)
    if embedding is None:
        limit, rule = pool.pixels * max_distance**2, f"RMS pixel difference at most {max_distance:g}"
        load: Load = pool.load
    else:
        assert min_similarity is not None
        limit = 2.0 - 2.0 * min_similarity + ROUNDING
        rule = f"cosine of {embedding.name} at least {min_similarity:g}"
        load = _rows(np.concatenate([embedding.vectors(images) for images in pool.batches()]))
    if hash_bits is None:
        found = near_pairs(load, len(pool), limit)
    else:
        rule += f", among pairs whose perceptual hashes differ in at most {hash_bits} of {BITS} bits"
        hashes = np.concatenate([perceptual_hashes(images) for images in pool.batches()])
        found = _confirmed(near_pairs(_rows(hashes), len(pool), 4.0 * hash_bits), load, limit)
    linked = networkx.utils.UnionFind(range(len(pool)))
    for pairs in found:
        for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            linked.union(first, second)
    components = sorted((sorted(component) for component in linked.to_sets()), key=lambda c: c[0])
    return Duplicates(
        clusters=pool.clusters(components),
        labels=pool.labels(components),
        exact=sum(int(images.repetitions.sum()) - len(images) for images in sets),
        rule=rule,
        embedding=embedding.name if embedding else "",
        embedding_digest=embedding.digest if embedding else "",
    )


class _Pool:
    """The distinct images of several sets as one row."""

    def __init__(self, sets: Sequence[ImageSet]) -> None:
        self.sets = sets
        self._starts = np.cumsum([0, *(len(images) for images in sets)])
        self.pixels = int(np.prod(sets[0].image_shape))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def place(self, index: int) -> tuple[int, int]:
        """Set and position of an image."""
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return which, index - int(self._starts[which])

    def load(self, part: Sequence[int]) -> NDArray[np.float32]:
        """Images (len(part), channels, height, width) of one size."""
        places = [self.place(index) for index in part]
        parts = [
            images.load([position for which, position in places if which == number])
            for number, images in enumerate(self.sets)
            if any(which == number for which, _ in places)
        ]
        order = np.argsort(np.argsort([which for which, _ in places], kind="stable"), kind="stable")
        loaded: NDArray[np.float32] = np.concatenate(parts)[order]
        return loaded

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """All images, some at a time."""
        for images in self.sets:
            for _, batch in images.batches(CHUNK):
                yield batch

    def clusters(self, components: Sequence[Sequence[int]]) -> tuple[Cluster, ...]:
        """Those of the components that hold at least two images, repetitions counted; the largest first."""
        ids, repetitions = [images.ids() for images in self.sets], [images.repetitions for images in self.sets]
        clusters = []
        for component in components:
            places = tuple(self.place(index) for index in component)
            counts = [0] * len(self.sets)
            for which, position in places:
                counts[which] += int(repetitions[which][position])
            if sum(counts) > 1:
                clusters.append(
                    Cluster(places, tuple(ids[which][position] for which, position in places), tuple(counts))
                )
        return tuple(sorted(clusters, key=lambda c: (-c.total, c.places)))

    def labels(self, components: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], ...]:
        """The number of every image's component, a set at a time."""
        labels = np.empty(len(self), dtype=np.int64)
        for number, component in enumerate(components):
            labels[component] = number
        return tuple(np.split(labels, self._starts[1:-1]))


def _confirmed(candidates: Iterator[NearPairs], load: Load, limit: float) -> Iterator[NearPairs]:
    """Those of the pairs with similar hashes that are near in pixels or in embedding."""
    for pairs in candidates:
        for start in range(0, len(pairs.first), CHUNK):
            first, second = pairs.first[start : start + CHUNK], pairs.second[start : start + CHUNK]
            difference = load(first.tolist()).astype(np.float64) - load(second.tolist())
            squared = np.square(difference).reshape(len(first), -1).sum(1)
            near = squared <= limit
            yield NearPairs(first[near], second[near], squared[near])


def _rows(vectors: NDArray[np.float32]) -> Load:
    """Vectors that are in memory, by position."""
    return lambda part: vectors[list(part)]


def _check(
    sets: Sequence[ImageSet],
    max_distance: float,
    embedding: Embedding | None,
    min_similarity: float | None,
    hash_bits: int | None,
) -> None:
    if not sets:
        raise UsageError("`sets` must hold at least one ImageSet, got none.")
    for images in sets:
        if not isinstance(images, ImageSet):
            raise UsageError(
                f'`sets` must be ImageSets, got {type(images).__name__}. Read it by ImageSet.of(source, "member").'
            )
    if embedding is not None and not isinstance(embedding, Embedding):
        raise UsageError(
            f"`embedding` must be an Embedding, got {type(embedding).__name__}. Make one by "
            "distances.Embedding.of(function, name=..., version=...)."
        )
    for name, value in (("max_distance", max_distance), ("min_similarity", min_similarity), ("hash_bits", hash_bits)):
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise UsageError(f"`{name}` must be a number, got {value!r}.")
    if not 0.0 <= max_distance <= 1.0:
        raise UsageError(f"`max_distance` must be an RMS distance in [0, 1], got {max_distance!r}.")
    if (embedding is None) != (min_similarity is None):
        raise UsageError("`embedding` and `min_similarity` must be given together, got one of them.")
    if min_similarity is not None and not 0.0 < min_similarity <= 1.0:
        raise UsageError(f"`min_similarity` must be a cosine in (0, 1], got {min_similarity!r}. SSCD's copies: 0.75.")
    if hash_bits is not None and not (0 <= hash_bits < BITS and hash_bits == int(hash_bits)):
        raise UsageError(
            f"`hash_bits` must be between 0 and {BITS - 1} and whole, got {hash_bits!r}. Usual are 6 to 12."
        )
    shapes = {images.image_shape for images in sets}
    if len(shapes) > 1 and embedding is None:
        raise ProbeError(f"Sets must have one image size, got {sorted(shapes)}. Resize them, or give an embedding.")
