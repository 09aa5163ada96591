"""Members and non-members: what is no split is refused before anything is judged."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ProbeSet


def pictures(count, seed, side=4):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)


def test_a_split_into_different_images_is_one():
    probes = ProbeSet(pictures(5, 1), pictures(4, 2))
    probes.check_split()
    assert (len(probes.members), len(probes.nonmembers), probes.image_shape) == (5, 4, (1, 4, 4))
    assert (probes.members.role, probes.nonmembers.role) == ("member", "non-member")


def test_the_same_images_on_both_sides_are_refused():
    with pytest.raises(ProbeError, match=r"5 of 5 member images are also among the 5 .* They are the same images\."):
        ProbeSet(pictures(5, 1), pictures(5, 1)[::-1]).check_split()


def test_the_same_folder_on_both_sides_is_refused(tmp_path):
    from PIL import Image

    for i, picture in enumerate(pictures(3, 1)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    with pytest.raises(ProbeError, match="They are the same images"):
        ProbeSet(tmp_path, tmp_path).check_split()


def test_shared_images_are_counted_and_named():
    others = np.concatenate([pictures(4, 2), pictures(5, 1)[1:3]])
    probes = ProbeSet(pictures(5, 1), others)
    with pytest.raises(ProbeError) as caught:
        probes.check_split()
    message = str(caught.value)
    assert message.startswith("2 of 5 member images are also among the 6 non-members (non-member ")
    assert all(name in message for name in probes.nonmembers.ids()[4:])
    assert "same images." not in message
    assert "remove the shared images from both sides" in message


def test_many_shared_images_are_named_in_part():
    with pytest.raises(ProbeError, match=r"4 of 5 member images .*, \.\.\.\)\."):
        ProbeSet(pictures(5, 1), pictures(5, 1)[:4]).check_split()


def test_images_shared_by_all_non_members_but_not_all_members_are_not_the_same():
    with pytest.raises(ProbeError) as caught:
        ProbeSet(pictures(5, 1), pictures(5, 1)[:4]).check_split()
    assert "They are the same images" not in str(caught.value)


def test_sides_of_different_size_are_refused_with_both_sizes():
    with pytest.raises(ProbeError, match=r"Members have shape \(1, 4, 4\), non-members \(1, 5, 5\). Bring both"):
        ProbeSet(pictures(5, 1), pictures(5, 1, side=5)).check_split()


def test_missing_non_members_are_asked_for():
    probes = ProbeSet(pictures(2, 1))
    assert not probes.has_nonmembers
    with pytest.raises(ProbeError, match=r"needs non-members.*Give ProbeSet\(\.\.\., nonmembers"):
        _ = probes.nonmembers
