"""Sizing: shorter side and centre crop, as torchvision's Resize and CenterCrop on images of Pillow."""

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes import ProbeSet

WIDE = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)


def sized(image, **arguments):
    return (ProbeSet([image], **arguments).members.load([0])[0] * 255).round().astype(np.uint8).transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("resize", "filtered"), [(8, "BILINEAR"), ("8", "BILINEAR"), ("8:bicubic", "BICUBIC"), ("8:lanczos", "LANCZOS")]
)
def test_the_shorter_side_gets_the_size_and_the_middle_is_kept(resize, filtered):
    whole = np.asarray(Image.fromarray(WIDE).resize((12, 8), Image.Resampling[filtered]))
    np.testing.assert_array_equal(sized(WIDE, resize=resize), whole)
    np.testing.assert_array_equal(sized(Image.fromarray(WIDE), resize=resize, crop=True), whole[:, 2:10])
    np.testing.assert_array_equal(sized(WIDE.transpose(1, 0, 2), resize=resize).shape, (12, 8, 3))


def test_floats_stay_floats_in_the_range():
    values = np.random.default_rng(1).random((2, 9, 9)).astype(np.float32).round()
    found = ProbeSet(values[:, :, :8] * np.float32(0.999), resize="16:bicubic").members.load([0, 1])
    assert found.shape == (2, 1, 18, 16)
    assert 0.0 <= found.min() < found.max() <= 1.0


def test_the_record_says_how_images_were_sized_and_the_digest_is_of_the_sized_ones():
    plain, cropped = ProbeSet([WIDE]).members, ProbeSet([WIDE], resize="16:lanczos", crop=16).members
    assert cropped.origin == "array (shorter side 16, lanczos, centre crop 16)"
    assert cropped.digest != plain.digest
    assert ProbeSet(plain, resize=16, crop=16).members.digest == ProbeSet([WIDE], resize=16, crop=16).members.digest
    assert cropped.subset([0]).load([0]).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resize": "8:sharp"}, "must be one of nearest, box, bilinear, .* got 'sharp'"),
        ({"resize": 0}, "`resize` must be a size or size:filter"),
        ({"resize": "8x8"}, "`resize` must be a size or size:filter"),
        ({"crop": True}, "`crop` a size or True for that of `resize`"),
        ({"crop": 25}, r"has 31 x 20 pixels, fewer than the crop of 25. Give resize=25"),
    ],
)
def test_sizes_that_are_none_are_refused(arguments, message):
    with pytest.raises(ProbeError, match=message):
        len(ProbeSet([WIDE], **arguments).members)
