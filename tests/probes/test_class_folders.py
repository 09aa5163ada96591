"""Classes of images that are sorted into one subfolder a class: what training took, or an error that asks which."""

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy import ProbeSet
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.probes.tables import CLASSES


@pytest.fixture
def sorted_images(tmp_path):
    rng = np.random.default_rng(0)

    def make(root, *names):
        for name in names:
            (tmp_path / root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / root / name / "1.png")
        return tmp_path / root

    return make


def asked(source, captions):
    images = ImageSet.of(source, "member", captions=captions)
    return images.prompts(range(len(images)))


def test_a_class_is_the_place_of_its_folder_as_torchvision_counts(sorted_images):
    folder = sorted_images("train", "dog", "cat", "Bird")
    assert asked(folder, "folder index") == asked(folder, CLASSES) == [0, 1, 2]  # Bird, cat, dog: upper case first
    images = ImageSet.of(folder, "member", captions="folder index")
    assert images.origin == "folder train, prompts are the places of its 3 subfolders"


def test_a_folders_name_is_a_caption_or_a_class_index(sorted_images):
    assert asked(sorted_images("train", "dog", "cat"), "folder name") == ["cat", "dog"]
    assert asked(sorted_images("numbers", "7", "10"), "folder name") == [7, 10]


def test_numbers_that_are_not_places_are_ambiguous(sorted_images):
    assert asked(sorted_images("same", "0", "1", "2"), CLASSES) == [0, 1, 2]
    with pytest.raises(ProbeError, match="subfolders 1, 10, 2, whose numbers are not their places"):
        asked(sorted_images("train", "1", "2", "10"), CLASSES)
    assert asked(sorted_images("train"), "folder index") == [0, 2, 1]  # in natural order of files: 1, 2, 10


def test_unseen_images_are_counted_among_the_members_classes(sorted_images):
    train, unseen = sorted_images("train", "bird", "cat", "dog"), sorted_images("unseen", "cat", "dog")
    probes = ProbeSet(train, unseen, captions="folder index")
    assert probes.nonmembers.prompts(range(2)) == [1, 2]
    with pytest.raises(ProbeError, match=r"subfolders that the members do not have \(bird\)"):
        ProbeSet(unseen, train, captions="folder index")


def test_folders_on_one_side_and_a_table_on_the_other_are_refused(sorted_images):
    train, unseen = sorted_images("train", "cat", "dog"), sorted_images("unseen", "a")
    (unseen / "metadata.csv").write_text("file_name,label\na/1.png,0\n")
    with pytest.raises(ProbeError, match="classes of the members are places of their subfolders"):
        ProbeSet(train, unseen, captions=CLASSES)


def test_a_table_beside_the_images_comes_first(sorted_images):
    train = sorted_images("train", "cat", "dog")
    (train / "metadata.csv").write_text("file_name,label\ncat/1.png,5\ndog/1.png,3\n")
    assert asked(train, CLASSES) == [5, 3]


def test_folders_are_taken_only_where_they_are_asked_for_or_classes_are(sorted_images):
    train = sorted_images("train", "cat", "dog")
    with pytest.raises(ProbeError, match=r"Its 2 subfolders may be classes: captions='folder index'"):
        asked(train, True)
    assert asked(sorted_images("one", "images"), CLASSES) is None
    with pytest.raises(ProbeError, match="must hold its images in several subfolders"):
        asked(sorted_images("one"), "folder index")


def test_deeper_folders_are_refused(sorted_images):
    with pytest.raises(ProbeError, match="torchvision takes the first folder for the class and datasets the last"):
        asked(sorted_images("all", "train/cat", "test/dog"), CLASSES)
