"""Validity of a split: near-copies across it are taken out, and the rest must look similar without the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.embeddings import Embedding
from pytest_diffprivacy.probes.blind_baseline import BlindBaseline, blind_baseline
from pytest_diffprivacy.probes.duplicates import find_duplicates
from pytest_diffprivacy.probes.image_set import ImageSet

Positions = NDArray[np.int64]

MOST_COMPARED = 10_000
HASH_BITS = 10


@dataclass(frozen=True, slots=True, eq=False)
class SplitValidity:
    """What was found about a split.

    Attributes:
        removed_members: positions of members with a near-copy among the non-members, in increasing order.
        removed_nonmembers: likewise.
        baseline: the blind baseline on what is left; None where a side has fewer than 20 images left.
    """

    removed_members: Positions
    removed_nonmembers: Positions
    baseline: BlindBaseline | None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers, for the evidence store."""
        own = {"removed_members": self.removed_members, "removed_nonmembers": self.removed_nonmembers}
        return own | (self.baseline.arrays() if self.baseline else {})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SplitValidity:
        """The same from the store."""
        baseline = BlindBaseline.from_arrays(arrays) if "test" in arrays else None
        return cls(arrays["removed_members"], arrays["removed_nonmembers"], baseline)


def split_validity(
    members: ImageSet, nonmembers: ImageSet, *, near: float, embedding: Embedding | None = None
) -> SplitValidity:
    """Check a split before any attack.

    A member with a near-copy among the non-members is removed, and so is the copy: the model may know both, so neither
    side may claim them. Near-copies within one side are left in. From 10,000 images on, pairs are compared only where
    their perceptual hashes differ in at most 10 of 63 bits.

    Args:
        members: images that were trained on.
        nonmembers: images of one shape with them that were not.
        near: RMS pixel difference up to which two images are near-copies.
        embedding: sees images for the blind baseline in the place of pixels.

    Source: Implements METHODS 7.10.
    """
    many = len(members) + len(nonmembers) > MOST_COMPARED
    found = find_duplicates(members, nonmembers, max_distance=near, hash_bits=HASH_BITS if many else None)
    places = [place for cluster in found.across for place in cluster.places]
    removed = [np.array(sorted(p for side, p in places if side == number), dtype=np.int64) for number in (0, 1)]
    sides = list(zip((members, nonmembers), removed, strict=True))
    some = all(len(gone) < len(side) for side, gone in sides)
    baseline = blind_baseline(*(left_over(*side) for side in sides), embedding=embedding) if some else None
    return SplitValidity(removed[0], removed[1], baseline)


def left_over(images: ImageSet, removed: Positions) -> ImageSet:
    """The images without those at some positions; the set itself where nothing is removed."""
    if not len(removed):
        return images
    return images.subset(np.setdiff1d(np.arange(len(images)), removed).tolist())
