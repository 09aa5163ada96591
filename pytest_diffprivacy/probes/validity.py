"""Validity of a split: near-copies are taken out, across it and within a side, and the rest must look similar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.probes.blind_baseline import BlindBaseline, blind_baseline
from pytest_diffprivacy.probes.duplicates import find_duplicates
from pytest_diffprivacy.probes.image_set import ImageSet

Positions = NDArray[np.int64]

POSITIONS = ("removed_members", "removed_nonmembers", "repeated_members", "repeated_nonmembers")


@dataclass(frozen=True, slots=True, eq=False)
class SplitValidity:
    """What was found about a split.

    Attributes:
        removed_members: positions of members with a near-copy among the non-members, in increasing order.
        removed_nonmembers: likewise.
        repeated_members: positions of the other members with a near-copy among the members that stands for them.
        repeated_nonmembers: likewise.
        baseline: the blind baseline on what is left; None where a side has fewer than 20 images left.
    """

    removed_members: Positions
    removed_nonmembers: Positions
    repeated_members: Positions
    repeated_nonmembers: Positions
    baseline: BlindBaseline | None

    @property
    def left_out(self) -> tuple[Positions, Positions]:
        """Positions of the members and of the non-members that are not judged."""
        return (
            np.union1d(self.removed_members, self.repeated_members),
            np.union1d(self.removed_nonmembers, self.repeated_nonmembers),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers, for the evidence store."""
        own = {name: getattr(self, name) for name in POSITIONS}
        return own | (self.baseline.arrays() if self.baseline else {})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SplitValidity:
        """The same from the store."""
        baseline = BlindBaseline.from_arrays(arrays) if "test" in arrays else None
        return cls(baseline=baseline, **{name: arrays[name] for name in POSITIONS})


def split_validity(
    members: ImageSet, nonmembers: ImageSet, *, near: float, embedding: Embedding | None = None
) -> SplitValidity:
    """Check a split before any attack.

    A member with a near-copy among the non-members is removed, and so is the copy: the model may know both, so neither
    side may claim them. Of near-copies within one side only the first by digest is left: they are no independent probes
    (clusters of 10 a side made 16 % of the verdicts false).

    Args:
        members: images that were trained on.
        nonmembers: images of one shape with them that were not.
        near: RMS pixel difference up to which two images are near-copies.
        embedding: sees images for the blind baseline in the place of pixels.

    Source: Implements METHODS 7.10.
    """
    found = find_duplicates(members, nonmembers, max_distance=near)
    both = (members, nonmembers)
    across = [place for cluster in found.across for place in cluster.places]
    within = [
        place
        for cluster in found.clusters
        if not cluster.across
        for place in sorted(cluster.places, key=lambda place: both[place[0]].digests[place[1]])[1:]
    ]
    positions = [
        np.array(sorted(p for side, p in places if side == number), dtype=np.int64)
        for places in (across, within)
        for number in (0, 1)
    ]
    split = SplitValidity(baseline=None, **dict(zip(POSITIONS, positions, strict=True)))
    if any(len(gone) == len(side) for side, gone in zip(both, split.left_out, strict=True)):
        return split
    rest = (left_over(*pair) for pair in zip(both, split.left_out, strict=True))
    return replace(split, baseline=blind_baseline(*rest, embedding=embedding))


def left_over(images: ImageSet, removed: Positions) -> ImageSet:
    """The images without those at some positions; the set itself where nothing is removed."""
    if not len(removed):
        return images
    return images.subset(np.setdiff1d(np.arange(len(images)), removed).tolist())
