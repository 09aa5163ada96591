"""A set of images: each counted once, read on demand, named by its pixels."""

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.evidence.private_ids import private_id
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.probes import ImageSet


class CountingReader:
    """Remembers which images were read."""

    origin = "counted"

    def __init__(self, count=10, shapes=None):
        self.images = np.random.default_rng(1).random((count, 1, 3, 3), dtype=np.float32)
        self.shapes, self.reads = shapes or {}, []

    def __len__(self):
        return len(self.images)

    def name(self, index):
        return f"picture {index}"

    def read(self, index):
        self.reads.append(index)
        return self.images[index][:, : self.shapes.get(index, 3)]


def test_duplicates_are_one_image_with_a_count():
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    found = ImageSet.of(images[[0, 1, 0, 2, 0, 1]], "member")
    assert len(found) == 3
    assert found.repetitions.tolist() == [3, 2, 1]
    np.testing.assert_array_equal(found.load([0, 1, 2]), ImageSet.of(images, "member").load([0, 1, 2]))


def test_a_difference_of_one_level_is_another_image():
    image = np.zeros((1, 4, 4), dtype=np.uint8)
    changed = image.copy()
    changed[0, 3, 3] = 1
    assert len(ImageSet.of(np.concatenate([image, changed]), "member")) == 2


def test_only_the_batch_that_is_asked_for_is_read():
    reader = CountingReader()
    images = ImageSet(reader, "member")
    assert reader.reads == []
    assert len(images) == 10
    assert reader.reads == list(range(10))
    reader.reads.clear()
    batches = images.batches(4)
    part, first = next(batches)
    assert (part, reader.reads) == (range(4), [0, 1, 2, 3])
    np.testing.assert_array_equal(first, reader.images[:4])
    assert [part for part, _ in batches] == [range(4, 8), range(8, 10)]
    assert reader.reads == list(range(10))


def test_the_catalogue_is_made_once():
    reader = CountingReader()
    images = ImageSet(reader, "member")
    _ = len(images), images.digest, images.ids(), images.repetitions, images.image_shape
    assert len(reader.reads) == 10


def test_a_subset_reads_its_own_images_only():
    reader = CountingReader()
    whole = ImageSet(reader, "member")
    part = whole.subset([7, 2])
    reader.reads.clear()
    np.testing.assert_array_equal(part.load([0, 1]), reader.images[[7, 2]])
    assert set(reader.reads) == {7, 2}
    assert part.digests == [whole.digests[7], whole.digests[2]]
    assert part.role == "member"
    assert part.image_shape == (1, 3, 3)


def test_a_subset_counts_distinct_images():
    images = np.random.default_rng(1).random((3, 4, 4))
    part = ImageSet.of(images[[0, 0, 1, 2]], "member").subset([0, 2])
    assert part.repetitions.tolist() == [1, 1]
    np.testing.assert_array_equal(part.load([1])[0, 0], images[2].astype(np.float32))


def test_images_are_drawn_by_a_stream_and_kept_in_order():
    images = ImageSet(CountingReader(), "member")
    drawn = images.drawn(4, 1, 2)
    assert drawn.digests == [digest for digest in images.digests if digest in drawn.digests]
    assert len(drawn) == 4
    assert drawn.digests == images.drawn(4, 1, 2).digests != images.drawn(4, 1, 3).digests
    assert images.drawn(10, 1, 2) is images


def test_a_subset_of_none_is_refused_when_it_is_used():
    with pytest.raises(ProbeError, match="must be at least one, got a selection of none"):
        len(ImageSet(CountingReader(), "member").subset([]))


def test_no_images_are_loaded_from_no_indices():
    assert ImageSet(CountingReader(), "member").load([]).shape == (0, 1, 3, 3)


def test_images_of_another_size_are_named_with_both_sizes():
    with pytest.raises(ProbeError, match=r"picture 4 has shape \(1, 2, 3\), the images before it \(1, 3, 3\). Resize"):
        len(ImageSet(CountingReader(shapes={4: 2}), "member"))


def test_the_first_bad_images_are_named_and_the_others_counted():
    array = np.full((9, 2, 2), 0.5)
    array[1:8] = np.nan
    with pytest.raises(ProbeError) as caught:
        len(ImageSet.of(array, "non-member"))
    message = str(caught.value)
    assert message.startswith("7 of 9 non-member images cannot be used (and 2 more):")
    assert message.count("\n") == 6  # and what to do


def test_names_show_role_and_digest():
    images = ImageSet(CountingReader(2), "member")
    assert images.ids() == [f"member {private_id(image_digest(image))}" for image in images.load([0, 1])]


def test_the_digest_depends_on_images_order_and_counts():
    images = np.random.default_rng(1).random((3, 4, 4))
    digests = [ImageSet.of(images[order], "member").digest for order in ([0, 1, 2], [1, 0, 2], [0, 1], [0, 1, 2, 2])]
    assert len(set(digests)) == 4
    assert ImageSet.of(images, "non-member").digest == digests[0]


def test_a_parts_digest_is_that_of_its_images():
    whole, moved = ImageSet(CountingReader(), "member"), ImageSet(CountingReader(), "member", [5, 6, 7])
    assert whole.part_digest(5, 8) == moved.part_digest(0, 3)
    assert whole.part_digest(5, 8) != whole.part_digest(5, 7)


def test_a_set_is_taken_as_it_is():
    images = ImageSet(CountingReader(), "member")
    assert ImageSet.of(images, "member") is images


def test_names_and_captions_are_private_and_stand_for_ids(tmp_path):
    for name, level in (("ann.png", 10), ("bob.png", 90), ("twin.png", 90)):
        Image.fromarray(np.full((4, 4), level, dtype=np.uint8)).save(tmp_path / name)
    images = ImageSet.of(tmp_path, "member", ["a portrait of Ann", "Bob", 3])
    private = list(images.private_texts())
    first, second = images.ids()
    assert (str(tmp_path / "ann.png"), first) in private
    assert ("ann.png", first) in private
    assert ("a portrait of Ann", f"caption of {first}") in private
    assert ("bob.png", second) in private
    assert ("twin.png", "repeated member") in private
    assert len(private) == 8


def test_the_order_of_digests_is_that_of_their_bytes_with_zeros_at_the_end_too():
    pixels = np.arange(600, dtype=np.uint16).view(np.uint8).reshape(600, 1, 1, 2) / np.float32(255.0)
    images, turned = ImageSet.of(pixels, "member"), ImageSet.of(pixels[::-1].copy(), "member")
    assert any(digest.endswith(b"\0") for digest in images.digests)
    in_order = [images.digests[i].hex() for i in images.digest_order]
    assert in_order == sorted(digest.hex() for digest in images.digests)
    assert in_order == [turned.digests[i].hex() for i in turned.digest_order]


def test_an_image_that_was_changed_after_its_digest_is_an_error(tmp_path):
    levels = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    for number, image in enumerate(levels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files, arrays = ImageSet.of(tmp_path, "member"), ImageSet.of(levels[:, None], "member")
    assert len(files) == len(arrays) == 3
    part = files.subset([0, 2])
    (tmp_path / "2.png").touch()  # read again, and the same
    np.testing.assert_array_equal(part.pixels([1])[0, 0], levels[2])
    Image.fromarray(levels[0] // 2).save(tmp_path / "2.png")
    levels[1, 0, 0] = 7
    for images, index, name in ((files, 2, "2.png"), (part, 1, "2.png"), (arrays, 1, "image 1 of array")):
        with pytest.raises(ProbeError, match=rf"{name} was changed after its digest was taken"):
            images.load([index])
    assert files.load([0, 1]).shape == (2, 1, 8, 8)
