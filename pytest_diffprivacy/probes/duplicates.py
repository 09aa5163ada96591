"""Duplicates: clusters of copies and near-copies with counts, inside one set or across several.

A training set's duplicates are what a model memorizes first; a near-copy on both sides of a split makes a non-member a
member. Exact copies have equal pixels. Near-copies are within a distance of each other that the caller declares, and so
are images that are linked by a chain of near-copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, final

import networkx
import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.bounds import Features, Pixels
from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.distances.near_pairs import BITS, near_images, near_pairs, perceptual_hashes, possible_pairs
from pytest_diffprivacy.distances.neighbours import READ_BYTES
from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import ProbeError, UsageError
from pytest_diffprivacy.probes.image_set import ImageSet

NEAR = 0.02
CHUNK = 256
ROUNDING = 1e-6
"""Of the squared distance of two equal unit vectors in float32."""

Positions: TypeAlias = NDArray[np.int64]
Pairs: TypeAlias = tuple[Positions, Positions, NDArray[np.bool_]]
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
        hash_bits: compare only pairs whose perceptual hashes differ in at most this many of 63 bits. It misses copies
            that are mirrored, cut or recoloured; None: every pair is compared, exactly, however many there are.

    Returns:
        Clusters and labels. Memory grows with the number of images, not of pairs.

    Raises:
        UsageError: no set, or an argument out of range.
        ProbeError: sets of different image sizes, where pixels decide.

    Source: Follows Carlini et al. 2023, sections 4.2 and 5.2 (duplicates by embedding, by l2), with METHODS 7.10.
    """
    _check(sets, max_distance, embedding, min_similarity, hash_bits)
    places = [(side, position) for side, images in enumerate(sets) for position in range(len(images))]

    def vectors(of: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Load:
        size = max(1, min(CHUNK, READ_BYTES // (4 * int(np.prod(sets[0].image_shape)))))
        rows = np.concatenate([of(batch) for images in sets for _, batch in images.batches(size)])
        return lambda part: rows[list(part)]

    together = _Together(sets) if embedding is None else None
    rule = f"RMS pixel difference at most {max_distance:g}"
    limit = 2.0 - 2.0 * min_similarity + ROUNDING if min_similarity is not None else 0.0
    load: Load | None = None
    if embedding is not None:
        rule, load = f"cosine of {embedding.name} at least {min_similarity:g}", vectors(embedding.vectors)
    candidates: Iterable[Pairs]
    if hash_bits is not None:
        rule += f", among pairs whose perceptual hashes differ in at most {hash_bits} of {BITS} bits"
        hashed = near_pairs(vectors(perceptual_hashes), len(places), 4.0 * hash_bits)
        candidates = ((p.first, p.second, np.zeros(len(p.first), dtype=bool)) for p in hashed)
    elif load is not None:
        found = near_pairs(load, len(places), limit)
        candidates = ((p.first, p.second, np.ones(len(p.first), dtype=bool)) for p in found)
    else:
        assert together is not None, "pixels decide where no embedding does"
        candidates = possible_pairs(together.features, float(np.prod(together.image_shape)) * max_distance**2)

    def near(first: Positions, second: Positions) -> NDArray[np.bool_]:
        if together is not None:
            return near_images(together, first, second, max_distance)
        assert load is not None, "an embedding decides"
        difference = load(first.tolist()).astype(np.float64) - load(second.tolist())
        return np.asarray(np.square(difference).sum(1) <= limit)

    linked = _linked(len(places), candidates, near)
    components = sorted((sorted(component) for component in linked.to_sets()), key=lambda c: c[0])
    labels = np.empty(len(places), dtype=np.int64)
    for number, component in enumerate(components):
        labels[component] = number
    return Duplicates(
        clusters=_clusters(sets, places, components),
        labels=tuple(np.split(labels, np.cumsum([len(images) for images in sets])[:-1])),
        exact=sum(int(images.repetitions.sum()) - len(images) for images in sets),
        rule=rule,
        embedding=embedding.name if embedding else "",
        embedding_digest=embedding.digest if embedding else "",
    )


def _clusters(
    sets: Sequence[ImageSet], places: Sequence[tuple[int, int]], components: Sequence[Sequence[int]]
) -> tuple[Cluster, ...]:
    """Those of the components that hold at least two images, repetitions counted; the largest first."""
    ids = [name for images in sets for name in images.ids()]
    repetitions = np.concatenate([images.repetitions for images in sets])
    clusters = []
    for component in components:
        inside = tuple(places[index] for index in component)
        counts = np.bincount([side for side, _ in inside], repetitions[component], len(sets)).astype(int)
        if counts.sum() > 1:
            clusters.append(Cluster(inside, tuple(ids[index] for index in component), tuple(counts.tolist())))
    return tuple(sorted(clusters, key=lambda c: (-c.total, c.places)))


def _linked(
    count: int, candidates: Iterable[Pairs], near: Callable[[Positions, Positions], NDArray[np.bool_]]
) -> networkx.utils.UnionFind:
    """Images linked by near pairs; what is linked already is not compared again."""
    linked = networkx.utils.UnionFind(range(count))
    for first, second, certain in candidates:
        for a, b in zip(first[certain].tolist(), second[certain].tolist(), strict=True):
            linked.union(a, b)
        rest = np.flatnonzero(~certain)
        while len(rest):
            rest = np.array([i for i in rest.tolist() if linked[int(first[i])] != linked[int(second[i])]], dtype=int)
            some, rest = rest[:CHUNK], rest[CHUNK:]
            for i in some[near(first[some], second[some])].tolist():
                linked.union(int(first[i]), int(second[i]))
    return linked


@final
class _Together:
    """Several sets of one image size as one searched set."""

    def __init__(self, sets: Sequence[ImageSet]) -> None:
        self._sets = sets
        self._starts = np.cumsum([0, *(len(images) for images in sets)])
        self.image_shape: tuple[int, ...] = sets[0].image_shape
        self.in_bytes = all(images.in_bytes for images in sets)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def features(self) -> Features:
        """What bounds their distances."""
        parts = [images.features for images in self._sets]
        return Features(np.concatenate([part.values for part in parts]), parts[0].means)

    def pixels(self, indices: Sequence[int]) -> Pixels:
        """Some of the images."""
        result = np.empty((len(indices), *self.image_shape), np.uint8 if self.in_bytes else np.float32)
        asked = np.asarray(indices)
        sides = np.searchsorted(self._starts, asked, side="right") - 1
        for side in np.unique(sides).tolist():
            here = np.flatnonzero(sides == side)
            found = self._sets[side].pixels((asked[here] - self._starts[side]).tolist())
            result[here] = found if self.in_bytes else floats_of(found)
        return result


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
