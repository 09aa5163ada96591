"""Copy rule: what counts as a copy of a training image, fixed on unseen images before any generation is seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances import nearest_images
from pytest_diffprivacy.distances.neighbours import query_rows
from pytest_diffprivacy.errors import InsufficientProbes, ProbeError
from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches, Search, adaptive_distances, joined
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.slices import in_batches
from pytest_diffprivacy.statistics import MatchThreshold, false_match_threshold, is_copy

PAPER_THRESHOLD = 1.0
SMALLEST_SIDE = 3
BESIDE = 16


@dataclass(frozen=True, slots=True)
class CopyRule:
    """A generation is a copy iff its RMS distance is at most `delta` and its adaptive distance at most the threshold.

    Attributes:
        delta: limit of the RMS distance to the nearest training image on [0, 1].
        threshold: limit of the adaptive distance, calibrated before any generation was seen.
        null: float64, adaptive distances of unseen images to the training set, which calibrated it.
        control: unseen images that took no part in the calibration, as many as the compared members.
        compared: positions of the members that the control is compared with; all, or a random subset of equal size.
        unseen: every unseen image that is no near-copy of a member, against the members.
        left_out: positions of members and of non-members that are near-copies of each other: they neither calibrate nor
            are compared with the control.
    """

    delta: float
    threshold: MatchThreshold
    null: NDArray[np.float64]
    control: ImageSet
    compared: NDArray[np.int64]
    unseen: AdaptiveMatches
    left_out: tuple[NDArray[np.int64], NDArray[np.int64]]

    def copies(self, matches: AdaptiveMatches) -> NDArray[np.bool_]:
        """Which queries are copies."""
        return is_copy(matches.l2, matches.adaptive, delta=self.delta, threshold=self.threshold.threshold)

    def may_be_copies(self, matches: AdaptiveMatches) -> NDArray[np.bool_]:
        """Which queries would be copies by the largest threshold that the calibration could have chosen."""
        return is_copy(matches.l2, matches.adaptive, delta=self.delta, threshold=self.threshold.ceiling)


def calibrate_rule(
    probes: ProbeSet,
    *,
    delta: float,
    max_false_match_rate: float,
    confidence: float,
    seed: int,
    ceiling: float = PAPER_THRESHOLD,
    search: Search = adaptive_distances,
    of_subject: NDArray[np.int64] | None = None,
) -> CopyRule:
    """Fix the copy rule on unseen images, before any generation is seen.

    A model that generalizes perfectly generates images like the unseen ones. Half of them (chosen by the seed) stand
    for its generations: the threshold is the largest at which at most `max_false_match_rate` of such images would be
    called copies of a training image, at most the paper's. The other half is the control. Members and unseen images
    that are near-copies of each other (`ProbeSet.near`) take no part: one of them would make the rule blind. With
    `of_subject`, the number of the person whom each non-member shows, halves are halves of the persons, and none is in
    the control in part.

    Raises:
        InsufficientProbes: too few non-members for this rate and confidence.
        ProbeError: too few images for a control, or all unseen images are near-copies of members.

    Source: Follows Carlini et al. 2023, section 5.2 except that the threshold is calibrated (METHODS 1.4).
    """
    members, others = probes.members, probes.nonmembers
    matches, left_out = _without_near_copies(probes, search)
    kept = np.setdiff1d(np.arange(len(others)), left_out[1])
    comparable = np.setdiff1d(np.arange(len(members)), left_out[0])
    persons = None if of_subject is None else np.unique(of_subject[kept], return_inverse=True)[1]
    order, half, most = _halves(len(kept), len(comparable), seed, persons)
    null = matches.adaptive[np.sort(order[:half])]
    try:
        threshold = false_match_threshold(
            null, max_false_match_rate=max_false_match_rate, confidence=confidence, ceiling=ceiling
        )
    except InsufficientProbes as error:
        raise InsufficientProbes(
            f"Cannot calibrate a copy rule with a false match rate of {max_false_match_rate:g} from {len(order)} "
            f"non-members, half of which are the control: at least {2 * error.needed} are needed. "
            "Raise max_false_match_rate or add non-members.",
            needed=2 * error.needed,
        ) from error
    if most < SMALLEST_SIDE:
        raise ProbeError(f"The control needs at least {SMALLEST_SIDE} non-members and members, got {most}. Add images.")
    control = others.subset(kept[np.sort(order[half : half + most])].tolist())
    compared = comparable[np.random.default_rng([seed, 2]).permutation(len(comparable))[:most]]
    return CopyRule(delta, threshold, null, control, np.sort(compared), matches, left_out)


def _halves(
    nonmembers: int, members: int, seed: int, of_subject: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], int, int]:
    """An order of the non-members, how many of its first calibrate, and how many after these are the control."""
    rng = np.random.default_rng([seed, 1])
    if of_subject is None:
        half = max(1, nonmembers // 2)
        return rng.permutation(nonmembers), half, min(nonmembers - half, members)
    rank = rng.permutation(int(of_subject.max()) + 1)[of_subject]
    ends = np.cumsum(np.bincount(rank))  # images of the first persons of the order
    half = int(ends[max(1, len(ends) // 2) - 1])
    whole = ends[ends - half <= members]
    return np.argsort(rank, kind="stable"), half, max(0, int(whole[-1]) - half)


def _without_near_copies(
    probes: ProbeSet, search: Search
) -> tuple[AdaptiveMatches, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Unseen images without near-copies of members, against the members; positions of near-copies on both sides.

    Raises:
        ProbeError: all unseen images are near-copies of members.
    """
    members, others = probes.members, probes.nonmembers
    parts = [range(part.start, part.stop) for part in in_batches(len(others), query_rows(others))]
    matches = joined([search(others.subset(part), members) for part in parts])
    near = matches.l2 <= probes.near
    if near.all():
        raise ProbeError(
            f"No unseen images are left: all {len(others)} are near-copies of members (RMS pixel difference at most "
            f"{probes.near:g}). Lower `near`, or take non-members from elsewhere."
        )
    twice = np.flatnonzero(near)
    rows = (twice[part].tolist() for part in in_batches(len(twice), query_rows(others)))
    beside = [_within(others.subset(part), members, probes.near) for part in rows]
    empty = np.zeros(0, dtype=np.int64)
    return matches.of(~near), (np.unique(np.concatenate([empty, *beside])), twice)


def _within(queries: ImageSet, searched: ImageSet, radius: float) -> NDArray[np.int64]:
    """Positions of the searched images within an RMS distance of some query."""
    pixels, k = queries.pixels(range(len(queries))), min(BESIDE, len(searched))
    while True:
        found = nearest_images(pixels, searched, k)
        if k == len(searched) or bool((found.distances[:, -1] > radius).all()):
            return np.unique(found.indices[found.distances <= radius])
        k = min(2 * k, len(searched))
