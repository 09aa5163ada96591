from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ProbeSet, SplitValidity


def probes(near: float = 0.02) -> ProbeSet:
    """40 + 40 images of noise; members 3 and 7 have a near-copy among the non-members, at 5 and at 6 with 9."""
    images = np.random.default_rng(64).random((80, 1, 6, 6)).astype(np.float32)
    members, nonmembers = images[:40], images[40:]
    nonmembers[5], nonmembers[6], nonmembers[9] = (
        np.clip(members[i] + d, 0, 1) for i, d in ((3, 0.01), (7, 0.01), (7, -0.01))
    )
    labels = list(range(40))
    return ProbeSet(members, nonmembers, member_prompts=labels, nonmember_prompts=labels, near=near)


def test_near_copies_are_taken_out_on_both_sides() -> None:
    split = probes()
    assert split.validity.removed_members.tolist() == [3, 7]
    assert split.validity.removed_nonmembers.tolist() == [5, 6, 9]
    rest = split.without(split.validity)
    assert (len(rest.members), len(rest.nonmembers)) == (38, 37)
    assert rest.members.prompts(range(4)) == [0, 1, 2, 4]
    np.testing.assert_array_equal(rest.nonmembers.load([5, 6, 7]), split.nonmembers.load([7, 8, 10]))
    assert len(split.validity.baseline.member_scores) == 38


def test_of_near_copies_within_a_side_one_is_left() -> None:
    rng = np.random.default_rng(66)
    members, others = rng.random((12, 1, 6, 6)), rng.random((11, 1, 6, 6))
    clusters = np.concatenate([members, np.clip(members[:2] + 0.01, 0.0, 1.0), np.clip(members[:1] - 0.01, 0.0, 1.0)])
    split = ProbeSet(clusters.astype(np.float32), others.astype(np.float32))
    found = split.validity
    assert (len(found.repeated_members), len(found.repeated_nonmembers)) == (3, 0)
    assert set(found.repeated_members.tolist()) < {0, 1, 12, 13, 14}
    assert (len(split.without(found).members), len(split.without(found).nonmembers)) == (12, 11)
    assert SplitValidity.from_arrays(found.arrays()).left_out[0].tolist() == found.repeated_members.tolist()


def test_the_probes_are_the_same_object_where_nothing_is_removed() -> None:
    split = probes(near=0.001)
    assert split.without(split.validity) is split


def test_what_was_found_survives_the_store() -> None:
    found = probes().validity
    again = SplitValidity.from_arrays(found.arrays())
    assert again.removed_members.tolist() == [3, 7]
    assert again.baseline.p_value == found.baseline.p_value


def test_few_images_have_no_baseline_but_are_compared() -> None:
    images = np.random.default_rng(65).random((20, 1, 6, 6)).astype(np.float32)
    images[15] = images[2] + np.float32(1e-3)
    split = ProbeSet(images[:10], images[10:].clip(0, 1))
    assert split.validity.baseline is None
    assert SplitValidity.from_arrays(split.validity.arrays()).removed_nonmembers.tolist() == [5]


def test_sides_that_are_all_near_copies_leave_nothing() -> None:
    images = np.random.default_rng(66).random((30, 1, 6, 6)).astype(np.float32) * np.float32(0.9)
    split = ProbeSet(images, images + np.float32(0.005))
    assert split.validity.baseline is None
    with pytest.raises(ProbeError, match="30 members and 30 non-members are near-copies"):
        split.without(split.validity)
