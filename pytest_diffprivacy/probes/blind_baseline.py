"""Blind baseline: classifiers that never see the model; where they separate a split, no membership verdict means much.

Four small classifiers see the images and never the model: linear and trees, each on statistics of the image, its file
and its caption, and on pixels (or on an embedding of the user's). They are cross-fitted, so no image is scored by a
classifier that saw its label, and the best of the four is judged by a permutation test that runs the whole procedure
again with shuffled labels. So an honest random split is called confounded in 1 % of the cases, whatever the images are.
Where it is known whom images show, folds and shuffles keep the images of one subject together: they resemble each other
without any leak.
Folds and shuffles follow from the images' digests: no seed can be chosen until a split passes.

The trees split at random, as totally randomized trees do, and a ridge regression weighs their leaves. Since labels
enter the regression alone, all shuffles are one regression with many outcomes: the test takes seconds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy  # its submodules are loaded when they are used, and so is scikit-learn: together they take two seconds
from numpy.typing import NDArray
from scipy import special

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.image_statistics import Matrix, statistics_of
from pytest_diffprivacy.statistics import Auroc, auroc

Positions = NDArray[np.int64]

SIGNIFICANCE = 0.01
PERMUTATIONS = 199
FOLDS = 3
TREES, DEPTH = 40, 4
SIDE = 16
LEAST = 20
EMBEDDED = 16
MOST_DESCRIBED = 5_000
SHOWN = 3
CLASSIFIERS: Final = ("linear, image statistics", "trees, image statistics", "linear, pixels", "trees, pixels")


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """One statistic on both sides."""

    name: str
    members: float
    nonmembers: float
    auroc: float


@dataclass(frozen=True, slots=True, eq=False)
class BlindBaseline:
    """What the classifiers made of a split.

    Attributes:
        members: positions of the members that were looked at, in increasing order.
        nonmembers: likewise.
        p_value: of the permutation test of the best AUROC.
        permutations: shuffles that were made.
        classifier: which was the best.
        differences: the statistics that differ most, at most 3.
        member_scores: cross-fitted scores of the best classifier, one for each of `members`.
        nonmember_scores: likewise.
    """

    members: Positions
    nonmembers: Positions
    p_value: float
    permutations: int
    classifier: str
    differences: tuple[Difference, ...]
    member_scores: Matrix
    nonmember_scores: Matrix

    @property
    def area(self) -> Auroc:
        """AUROC of the best classifier; each one-sided bound at 0.95 after Bonferroni for the four of them."""
        return auroc(self.member_scores, self.nonmember_scores, confidence=1.0 - 0.05 / len(CLASSIFIERS))

    @property
    def detectable(self) -> float:
        """The AUROC that would have been found with probability 0.8."""
        return detectable_auroc(len(self.member_scores), len(self.nonmember_scores))

    @property
    def confounded(self) -> bool:
        """Whether the two sides differ without the model."""
        return self.p_value <= SIGNIFICANCE

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers, for the evidence store."""
        return {
            "described_members": self.members,
            "described_nonmembers": self.nonmembers,
            "member_scores": self.member_scores,
            "nonmember_scores": self.nonmember_scores,
            "test": np.array([self.p_value, self.permutations, CLASSIFIERS.index(self.classifier)]),
            "differences": np.array([[d.members, d.nonmembers, d.auroc] for d in self.differences]).reshape(-1, 3),
            "names": np.frombuffer("\n".join(d.name for d in self.differences).encode(), dtype=np.uint8).copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> BlindBaseline:
        """The same from the store."""
        p_value, permutations, which = arrays["test"].tolist()
        names = arrays["names"].tobytes().decode().split("\n")
        differences = zip(names, arrays["differences"].tolist(), strict=bool(len(arrays["differences"])))
        return cls(
            members=arrays["described_members"],
            nonmembers=arrays["described_nonmembers"],
            p_value=p_value,
            permutations=int(permutations),
            classifier=CLASSIFIERS[int(which)],
            differences=tuple(Difference(name, *values) for name, values in differences),
            member_scores=arrays["member_scores"],
            nonmember_scores=arrays["nonmember_scores"],
        )


def blind_baseline(
    members: ImageSet, nonmembers: ImageSet, *, embedding: Embedding | None = None
) -> BlindBaseline | None:
    """Ask whether a split is one; None where a side has fewer than 20 images or subjects, too few for a classifier.

    Of a side of more than 5,000 images the first by digest are looked at: a sample that nobody chooses.

    Args:
        members: images that were trained on.
        nonmembers: images of one shape with them that were not.
        embedding: sees images in the place of pixels, e.g. of an encoder that knows what the pixels show.

    Source: Follows METHODS 7.10. Permutation p-value of Phipson and Smyth (2010), totally randomized trees of Geurts,
    Ernst and Wehenkel (2006); the choice of classifiers is ours.
    """
    chosen = [np.sort(np.array(side.digest_order[:MOST_DESCRIBED])) for side in (members, nonmembers)]
    members, nonmembers = (
        side if len(some) == len(side) else side.subset(some.tolist())
        for side, some in zip((members, nonmembers), chosen, strict=True)
    )
    digests = members.digests + nonmembers.digests
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__))
    blocks = _blocks(members, nonmembers)[order]
    truth = (order < len(members)).astype(np.float64)
    of_block = np.zeros(int(blocks.max()) + 1)
    of_block[blocks] = truth
    if min(of_block.sum(), len(of_block) - of_block.sum()) < LEAST:
        return None
    seed = int.from_bytes(hashlib.sha256(b"".join(digests[i] for i in order)).digest()[:8], "little")
    stream = np.random.default_rng(seed)
    names, described, seen = _described(members, nonmembers, embedding)
    labels = np.stack([truth, *(stream.permutation(of_block)[blocks] for _ in range(PERMUTATIONS))], axis=1)
    from sklearn.model_selection import KFold

    split = KFold(FOLDS, shuffle=True, random_state=int(stream.integers(2**31))).split(of_block)
    folds = [tuple(np.flatnonzero(np.isin(blocks, part)) for part in parts) for parts in split]
    candidates = [
        _cross_fitted(features, labels, folds)
        for values in (_standard(described[order]), _standard(seen[order]))
        for features in (values, _leaves(values, int(stream.integers(2**31))))
    ]
    areas = np.stack([_areas(scores, labels) for scores in candidates])
    best = int(np.argmax(areas[:, 0]))
    as_good = int((areas[:, 1:].max(0) >= areas[best, 0]).sum())
    scores = np.empty(len(order))
    scores[order] = candidates[best][:, 0]
    return BlindBaseline(
        members=chosen[0],
        nonmembers=chosen[1],
        p_value=(as_good + 1) / (PERMUTATIONS + 1),
        permutations=PERMUTATIONS,
        classifier=CLASSIFIERS[best],
        differences=_differences(names, described[: len(members)], described[len(members) :]),
        member_scores=scores[: len(members)],
        nonmember_scores=scores[len(members) :],
    )


def _blocks(members: ImageSet, nonmembers: ImageSet) -> Positions:
    """What stays together, a number for each image of both sides: the images of one subject; each where none is known.

    Numbered by the digests of the images, so that no order of files shows.
    """
    sides = [side.subjects(range(len(side))) for side in (members, nonmembers)]
    digests = members.digests + nonmembers.digests
    own: list[object] = [
        (side, subjects[i]) if (subjects := sides[side]) is not None else (side, digest)
        for side, images in enumerate((members, nonmembers))
        for i, digest in enumerate(images.digests)
    ]
    numbers: dict[object, int] = {}
    for i in sorted(range(len(digests)), key=digests.__getitem__):
        numbers.setdefault(own[i], len(numbers))
    return np.array([numbers[name] for name in own], dtype=np.int64)


def detectable_auroc(members: int, nonmembers: int) -> float:
    """The cross-fitted AUROC that the test finds with probability 0.8.

    Source: Follows METHODS 7.13 (normal approximation without a leak), corrected for the four classifiers.
    """
    error = math.sqrt((members + nonmembers + 1) / (12.0 * members * nonmembers))
    z = float(special.ndtri(0.8) - special.ndtri(SIGNIFICANCE / len(CLASSIFIERS)))
    return min(1.0, 0.5 + z * error)


def _cross_fitted(features: Matrix, labels: Matrix, folds: Sequence[tuple[Positions, ...]]) -> Matrix:
    """Scores (n, labellings) of a ridge regression, all labellings at once; folds do not depend on labels."""
    from sklearn.linear_model import Ridge

    scores = np.empty_like(labels)
    for fitted, scored in folds:
        model = Ridge(alpha=0.1 * len(fitted), solver="cholesky").fit(features[fitted], labels[fitted])
        # Without the mean of the fold's own labels, which is lower the more members the scored part has.
        scores[scored] = model.predict(features[scored]).reshape(len(scored), -1) - labels[fitted].mean(0)
    return scores


def _leaves(values: Matrix, seed: int) -> Matrix:
    """In which leaf of each random tree an image ends: 0 and 1, (n, leaves of all trees)."""
    from sklearn.ensemble import RandomTreesEmbedding

    trees = RandomTreesEmbedding(TREES, max_depth=DEPTH, sparse_output=False, random_state=seed)
    return np.asarray(trees.fit_transform(values), dtype=np.float64)


def _areas(scores: Matrix, labels: Matrix) -> Matrix:
    """AUROC of each column."""
    ranks = scipy.stats.rankdata(scores, axis=0)
    positives = labels.sum(0)
    area = ((ranks * labels).sum(0) - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))
    return np.asarray(area, dtype=np.float64)


def _described(
    members: ImageSet, nonmembers: ImageSet, embedding: Embedding | None
) -> tuple[tuple[str, ...], Matrix, Matrix]:
    """Statistics that both sides have, and what else is seen; one that a side alone has is itself a difference."""
    sides = (members, nonmembers)
    (first, inside, ours), (second, outside, theirs) = (
        statistics_of(side, None if embedding else _pooled) for side in sides
    )
    if embedding is not None:
        ours, theirs = (
            np.concatenate([embedding.vectors(batch).astype(np.float64) for _, batch in side.batches(EMBEDDED)])
            for side in sides
        )
    shared = [name for name in first if name in second]
    rows = [values[:, [names.index(name) for name in shared]] for names, values in ((first, inside), (second, outside))]
    return tuple(shared), np.concatenate(rows), np.concatenate([ours, theirs])


def _pooled(batch: NDArray[np.float32]) -> Matrix:
    """Pixels, averaged to at most 16x16 a channel: (n, k)."""
    rows, columns = (_bins(batch.shape[axis]) for axis in (2, 3))
    small = np.add.reduceat(np.add.reduceat(batch.astype(np.float64), rows, axis=2), columns, axis=3)
    return np.asarray(small.reshape(len(batch), -1))


def _bins(length: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length, min(length, SIDE), endpoint=False).astype(np.int64))


def _standard(values: Matrix) -> Matrix:
    spread = values.std(0)
    return np.asarray((values - values.mean(0)) / np.where(spread > 0.0, spread, 1.0), dtype=np.float64)


def _differences(names: tuple[str, ...], members: Matrix, nonmembers: Matrix) -> tuple[Difference, ...]:
    labels = np.repeat([1.0, 0.0], [len(members), len(nonmembers)])[:, None]
    areas = _areas(np.concatenate([members, nonmembers]), np.broadcast_to(labels, (len(labels), len(names))))
    first = np.argsort(-np.abs(areas - 0.5), kind="stable")[:SHOWN]
    inside, outside = members.mean(0), nonmembers.mean(0)
    return tuple(Difference(names[i], float(inside[i]), float(outside[i]), float(areas[i])) for i in first)
