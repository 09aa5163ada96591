from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy import ProbeSet
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet, blind_baseline


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1, 6, 6)).astype(np.float32)


def folder(root: Path, people: dict[str, int], seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for person, count in people.items():
        (root / person).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / person / f"{number}.png")
    return root


def test_the_folder_names_the_subject(tmp_path: Path) -> None:
    members = folder(tmp_path / "in", {"ann": 3, "bob": 1}, 1)
    others = folder(tmp_path / "out", {"cem": 2, "dan": 2}, 2)
    probes = ProbeSet(str(members), str(others), subjects=True)
    inside, outside = probes.subjects
    assert (len(inside), len(outside)) == (2, 2)
    assert sorted(inside.sizes.tolist()) == [1, 3]
    assert (probes.members.source_subjects, probes.nonmembers.source_subjects) == (2, 2)


def test_a_column_beside_the_images_names_the_subject(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {"all": 3}, 3) / "all"
    (root / "metadata.csv").write_text("file_name,person,text\n0.png,ann,a\n1.png,ann,b\n2.png,bob,c\n")
    (subjects,) = ProbeSet(str(root), subjects="person", captions="text").subjects
    assert sorted(subjects.sizes.tolist()) == [1, 2]


def test_names_of_digits_stay_as_they_are_written(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {"all": 3}, 3) / "all"
    (root / "metadata.csv").write_text("file_name,person,label\n0.png,007,01\n1.png,7,1\n2.png,7,2\n")
    probes = ProbeSet(str(root), subjects="person", captions="label")
    assert sorted(probes.subjects[0].names) == ["007", "7"]
    assert probes.members.prompts(range(3)) == [1, 1, 2]  # class indices are numbers
    (root / "metadata.csv").write_text("file_name,person\n0.png,007\n1.png,\n2.png,7\n")
    with pytest.raises(ProbeError, match="must have a name in its column 'person'"):
        ProbeSet(str(root), subjects="person").subjects  # noqa: B018


def test_a_list_a_side_names_the_subjects_and_near_copies_leave_the_rest_in_place() -> None:
    probes = ProbeSet(pictures(4), pictures(3, 1), subjects=(["a", "b", "a", "c"], [1, 2, 2]))
    inside, outside = probes.subjects
    np.testing.assert_allclose(sorted(inside.means(np.array([1.0, 5.0, 3.0, 7.0]))), [2.0, 5.0, 7.0])
    assert sorted(outside.largest(np.array([0.0, 0.0, 1.0])).tolist()) == [0.0, 1.0]
    part = probes.members.subset([2, 1])
    assert part.subjects([0, 1]) == ["a", "b"]


def test_ids_of_subjects_hold_no_name() -> None:
    (subjects,) = ProbeSet(pictures(2), subjects=(["Ann Smith", "Bob Jones"], None)).subjects
    assert not any("Ann" in shown or "Bob" in shown for shown in subjects.ids())


def test_a_subject_on_both_sides_is_refused() -> None:
    probes = ProbeSet(pictures(2), pictures(2, 1), subjects=(["a", "b"], ["b", "c"]))
    with pytest.raises(ProbeError, match="1 subjects stand on both sides"):
        _ = probes.subjects


def test_an_image_of_two_subjects_is_refused() -> None:
    images = pictures(3)
    images[2] = images[0]
    with pytest.raises(ProbeError, match="must have one subject"):
        _ = ProbeSet(images, subjects=(["a", "b", "c"], None)).subjects


@pytest.mark.parametrize("given", [["a", "b"], {"a": 1}, 3])
def test_what_is_no_pair_of_lists_is_refused(given: object) -> None:
    with pytest.raises(ProbeError, match="`subjects` must be"):
        ProbeSet(pictures(2), pictures(2, 1), subjects=given)


def test_images_of_one_folder_are_no_subjects(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="a subfolder for every subject"):
        ProbeSet(str(folder(tmp_path / "in", {"ann": 2}, 1)), subjects=True)


def test_persons_who_resemble_themselves_do_not_confound_a_random_split_of_persons() -> None:
    """Each person has a look of its own; folds of images would recognise the person."""
    rng = np.random.default_rng(5)
    looks = rng.random((60, 1, 1, 6, 6)) * 0.8
    images = (looks + rng.random((60, 6, 1, 6, 6)) * 0.05).astype(np.float32)
    sides = images[:30].reshape(-1, 1, 6, 6), images[30:].reshape(-1, 1, 6, 6)
    names = [[str(person) for person in half for _ in range(6)] for half in (range(30), range(30, 60))]
    told = [ImageSet.of(side, "x").shown(own) for side, own in zip(sides, names, strict=True)]
    plain = blind_baseline(ImageSet.of(sides[0], "x"), ImageSet.of(sides[1], "x"))
    grouped = blind_baseline(*told)
    assert plain is not None
    assert plain.confounded
    assert grouped is not None
    assert not grouped.confounded
