"""Array files: which array holds the images, and which the captions or class indices beside them."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.probes.tables import CLASSES

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 2, 1])
TEXTS = np.array(["a cat", "a dog", "a cow", "a dog"])


@pytest.fixture
def asked(tmp_path):
    def of(captions, /, *arrays, **named):
        np.savez(tmp_path / "a.npz", *arrays, **named)
        return ImageSet.of(tmp_path / "a.npz", "member", captions=captions).prompts(range(4))

    return of


@pytest.mark.parametrize("name", ["label", "labels", "class", "classes", "targets", "y", "arr_1"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_stand_beside_the_images(asked, name, shape):
    assert asked(CLASSES, images=IMAGES, **{name: LABELS.reshape(shape)}) == [3, 1, 2, 1]


def test_arrays_without_names_are_images_and_labels(asked):
    assert asked(CLASSES, IMAGES, LABELS) == asked(True, IMAGES, LABELS) == [3, 1, 2, 1]


def test_captions_come_before_labels_as_in_a_table(asked):
    assert asked(True, x=IMAGES, y=LABELS, captions=TEXTS) == TEXTS.tolist()
    assert asked(CLASSES, x=IMAGES, y=LABELS, captions=TEXTS) == [3, 1, 2, 1]
    assert asked("other", x=IMAGES, y=LABELS, other=TEXTS) == TEXTS.tolist()


def test_labels_of_safetensors(tmp_path):
    save_file({"images": IMAGES, "labels": LABELS}, tmp_path / "a.safetensors")
    assert ImageSet.of(tmp_path / "a.safetensors", "member", captions=CLASSES).prompts(range(4)) == [3, 1, 2, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": LABELS, "y": LABELS}, "the arrays labels and y, and training may have used either"),
        ({"labels": np.eye(4)[LABELS]}, r"got shape \(4, 4\). Of one value a class, save .argmax"),
        ({"labels": LABELS[:3]}, "must hold one value for each of 4 images"),
        ({"labels": LABELS + 0.5}, "image 0 of a.npz must have a class index"),
        ({"more": IMAGES}, None),
    ],
)
def test_what_cannot_be_labels_is_refused(asked, arrays, message):
    if message is None:
        assert asked(CLASSES, images=IMAGES, **arrays) is None
        with pytest.raises(ProbeError, match="cannot tell which are the images"):
            asked(CLASSES, a=IMAGES, **arrays)
        return
    with pytest.raises(ProbeError, match=message):
        asked(CLASSES, images=IMAGES, **arrays)


def test_a_column_that_is_not_there_is_named(asked, tmp_path):
    with pytest.raises(ProbeError, match="must have the array 'text', got y"):
        asked("text", images=IMAGES, y=LABELS)
    np.save(tmp_path / "a.npy", IMAGES)
    assert len(ImageSet.of(tmp_path / "a.npy", "member")) == 4
    with pytest.raises(ProbeError, match=r"a.npy holds images alone"):
        ImageSet.of(tmp_path / "a.npy", "member", captions="text")
