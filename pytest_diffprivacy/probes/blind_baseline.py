"""Can members be told from non-members without the model? Then a membership verdict on this split means nothing.

Three small classifiers see the images and never the model: a linear one on statistics of the image, its file and its
caption, a linear one on pixels (or on an embedding of the user's), and trees on both. They are cross-fitted, so no
image is scored by a classifier that saw its label, and the best of the three is judged by a permutation test that runs
the whole procedure again with shuffled labels. So an honest random split is called confounded in 1 % of the cases,
whatever the images are. Folds and shuffles follow from the images' digests: no seed can be chosen until a split passes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.image_statistics import CHUNK, Matrix, statistics_of
from pytest_diffprivacy.statistics import Auroc, auroc

VERSION = 1
SIGNIFICANCE = 0.01
PERMUTATIONS = 99
ENOUGH = 5
"""Shuffles at least as good as the truth after which the test stops: the p-value is then above 0.05."""
FOLDS = 3
TREE_IMAGES = 600
"""Images that the trees are fitted on, at random: 100 fits must take seconds. They score all images."""
SIDE = 16
LEAST = 20
SHOWN = 3
CLASSIFIERS: Final = ("linear, image statistics", "linear, pixels", "trees, statistics and pixels")


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
        area: AUROC of the best classifier; each one-sided bound at 0.95 after Bonferroni for the three of them.
        p_value: of the permutation test of the best AUROC.
        permutations: shuffles that were made; 99, or fewer where many did as well as the true labels.
        classifier: which was the best.
        detectable: the AUROC that would have been found with probability 0.8.
        differences: the statistics that differ most, at most 3.
        member_scores: cross-fitted scores of the best classifier, (members,), in the order of the set.
        nonmember_scores: likewise.
    """

    area: Auroc
    p_value: float
    permutations: int
    classifier: str
    detectable: float
    differences: tuple[Difference, ...]
    member_scores: Matrix
    nonmember_scores: Matrix

    @property
    def confounded(self) -> bool:
        """Whether the two sides differ without the model."""
        return self.p_value <= SIGNIFICANCE

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers, for the evidence store."""
        return {
            "member_scores": self.member_scores,
            "nonmember_scores": self.nonmember_scores,
            "test": np.array([self.p_value, self.permutations, CLASSIFIERS.index(self.classifier)]),
            "differences": np.array([[d.members, d.nonmembers, d.auroc] for d in self.differences]).reshape(-1, 3),
            "names": np.frombuffer("\n".join(d.name for d in self.differences).encode(), dtype=np.uint8).copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> BlindBaseline:
        """The same from the store."""
        members, nonmembers = arrays["member_scores"], arrays["nonmember_scores"]
        p_value, permutations, which = arrays["test"].tolist()
        names = arrays["names"].tobytes().decode().split("\n")
        differences = zip(names, arrays["differences"].tolist(), strict=bool(len(arrays["differences"])))
        return cls(
            area=auroc(members, nonmembers, confidence=1.0 - 0.05 / len(CLASSIFIERS)),
            p_value=p_value,
            permutations=int(permutations),
            classifier=CLASSIFIERS[int(which)],
            detectable=detectable_auroc(len(members), len(nonmembers)),
            differences=tuple(Difference(name, *values) for name, values in differences),
            member_scores=members,
            nonmember_scores=nonmembers,
        )


def blind_baseline(
    members: ImageSet, nonmembers: ImageSet, *, embedding: Embedding | None = None
) -> BlindBaseline | None:
    """Ask whether a split is one; None where a side has fewer than 20 images, which no classifier can say much about.

    Args:
        members: images that were trained on.
        nonmembers: images of one shape with them that were not.
        embedding: sees images in the place of pixels, e.g. of an encoder that knows what the pixels show.

    Source: Follows METHODS 7.10. Permutation p-value of Phipson and Smyth (2010), stopped early as in Besag and Clifford
    (1991); the choice of classifiers is ours.
    """
    if min(len(members), len(nonmembers)) < LEAST:
        return None
    digests = members.digests + nonmembers.digests
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__))
    seed = int.from_bytes(hashlib.sha256(b"".join(digests[i] for i in order)).digest()[:8], "little")
    stream = np.random.default_rng(seed)
    truth = (order < len(members)).astype(np.float64)
    names, described = _described(members, nonmembers)
    described = described[order]
    seen = np.concatenate([_seen(side, embedding) for side in (members, nonmembers)])[order]
    labels = np.stack([truth, *(stream.permutation(truth) for _ in range(PERMUTATIONS))], axis=1)
    judge = _Judge(_standard(described), _standard(seen), stream)
    linear = [judge.linear(judge.described, labels), judge.linear(judge.seen, labels)]
    trees = judge.trees(truth)
    areas = [*(_areas(scores[:, :1], labels[:, :1])[0] for scores in linear), _areas(trees[:, None], truth[:, None])[0]]
    best = int(np.argmax(areas))
    p_value, made = _permutation(areas[best], np.maximum(*(_areas(s, labels) for s in linear)), judge, labels)
    scores = np.empty(len(order))
    scores[order] = trees if best == 2 else linear[best][:, 0]
    own = described[np.argsort(order)]
    return BlindBaseline(
        area=auroc(scores[: len(members)], scores[len(members) :], confidence=1.0 - 0.05 / len(CLASSIFIERS)),
        p_value=p_value,
        permutations=made,
        classifier=CLASSIFIERS[best],
        detectable=detectable_auroc(len(members), len(nonmembers)),
        differences=_differences(names, own[: len(members)], own[len(members) :]),
        member_scores=scores[: len(members)],
        nonmember_scores=scores[len(members) :],
    )


def detectable_auroc(members: int, nonmembers: int) -> float:
    """The cross-fitted AUROC that the test finds with probability 0.8.

    Source: Follows METHODS 7.13 (normal approximation without a leak), corrected for the three classifiers.
    """
    error = math.sqrt((members + nonmembers + 1) / (12.0 * members * nonmembers))
    z = float(special.ndtri(0.8) - special.ndtri(SIGNIFICANCE / len(CLASSIFIERS)))
    return min(1.0, 0.5 + z * error)


class _Judge:
    """The classifiers, with folds that do not depend on labels."""

    def __init__(self, described: Matrix, seen: Matrix, stream: np.random.Generator) -> None:
        self.described, self.seen, self.both = described, seen, np.concatenate([described, seen], axis=1)
        self._seed = int(stream.integers(2**31))
        self._folds = list(KFold(FOLDS, shuffle=True, random_state=self._seed).split(described))
        sampled = np.zeros(len(described), dtype=bool)
        sampled[stream.permutation(len(described))[:TREE_IMAGES]] = True
        self._sampled = sampled

    def linear(self, features: Matrix, labels: Matrix) -> Matrix:
        """Cross-fitted scores (n, labellings) of a ridge regression, all labellings at once."""
        scores = np.empty_like(labels)
        for fitted, scored in self._folds:
            model = Ridge(alpha=0.1 * len(fitted), solver="cholesky").fit(features[fitted], labels[fitted])
            # Without the mean of the fold's own labels, which is lower the more positives the scored part has.
            scores[scored] = model.predict(features[scored]).reshape(len(scored), -1) - labels[fitted].mean(0)
        return scores

    def trees(self, labels: Matrix) -> Matrix:
        """Cross-fitted scores (n,) of a small forest."""
        scores = np.empty_like(labels)
        for fitted, scored in self._folds:
            chosen = fitted[self._sampled[fitted]]
            shares = labels[chosen]
            if shares.min() == shares.max():
                scores[scored] = 0.0
                continue
            model = ExtraTreesClassifier(16, max_depth=5, min_samples_leaf=5, random_state=self._seed)
            model.fit(self.both[chosen], shares)
            scores[scored] = model.predict_proba(self.both[scored])[:, 1] - shares.mean()
        return scores


def _permutation(observed: float, linear: Matrix, judge: _Judge, labels: Matrix) -> tuple[float, int]:
    """P-value of the best of the three AUROCs, and how many shuffles it took."""
    as_good = 0
    for number in range(1, labels.shape[1]):
        shuffled = labels[:, number]
        if linear[number] >= observed or _areas(judge.trees(shuffled)[:, None], shuffled[:, None])[0] >= observed:
            as_good += 1
        if as_good == ENOUGH:
            return as_good / number, number
    return (as_good + 1) / labels.shape[1], labels.shape[1] - 1


def _areas(scores: Matrix, labels: Matrix) -> Matrix:
    """AUROC of each column."""
    ranks = stats.rankdata(scores, axis=0)
    positives = labels.sum(0)
    area = ((ranks * labels).sum(0) - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))
    return np.asarray(area, dtype=np.float64)


def _described(members: ImageSet, nonmembers: ImageSet) -> tuple[tuple[str, ...], Matrix]:
    """Statistics that both sides have; one that a side alone has (files against an array) is itself a difference."""
    (first, inside), (second, outside) = statistics_of(members), statistics_of(nonmembers)
    shared = [name for name in first if name in second]
    rows = [values[:, [names.index(name) for name in shared]] for names, values in ((first, inside), (second, outside))]
    return tuple(shared), np.concatenate(rows)


def _seen(images: ImageSet, embedding: Embedding | None) -> Matrix:
    """Pixels, averaged to at most 16x16 a channel, or the embedding: (n, k)."""
    parts = []
    for _, batch in images.batches(CHUNK):
        if embedding is not None:
            parts.append(embedding.vectors(batch).astype(np.float64))
        else:
            rows, columns = (_bins(batch.shape[axis]) for axis in (2, 3))
            small = np.add.reduceat(np.add.reduceat(batch.astype(np.float64), rows, axis=2), columns, axis=3)
            parts.append(small.reshape(len(batch), -1))
    return np.concatenate(parts)


def _bins(length: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length, min(length, SIDE), endpoint=False).astype(np.int64))


def _standard(values: Matrix) -> Matrix:
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 0.0, spread, 1.0)


def _differences(names: tuple[str, ...], members: Matrix, nonmembers: Matrix) -> tuple[Difference, ...]:
    labels = np.repeat([1.0, 0.0], [len(members), len(nonmembers)])[:, None]
    areas = _areas(np.concatenate([members, nonmembers]), np.broadcast_to(labels, (len(labels), len(names))))
    first = np.argsort(-np.abs(areas - 0.5), kind="stable")[:SHOWN]
    inside, outside = members.mean(0), nonmembers.mean(0)
    return tuple(Difference(names[i], float(inside[i]), float(outside[i]), float(areas[i])) for i in first)
