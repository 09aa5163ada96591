"""Pictures in records: made from pixels alone, and too coarse to show what was redacted."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.evidence.pictures import difference_map, picture

SIZES = [(8, 8), (16, 16), (17, 17), (28, 28), (32, 32), (33, 20), (20, 64), (64, 64), (512, 256), (3, 3)]


def image(height, width, channels=3):
    return np.random.default_rng(1).random((channels, height, width))


def png(record):
    return base64.b64decode(record.png_base64)


def decoded(record):
    return np.asarray(Image.open(io.BytesIO(png(record))))


def chunks(content):
    """Names of a PNG's chunks."""
    names, position = [], 8
    while position < len(content):
        names.append(content[position + 4 : position + 8].decode())
        position += 12 + int.from_bytes(content[position : position + 4], "big")
    return names


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_redacted_picture_has_at_most_2_pixels_and_half_of_each_side(height, width, channels):
    record = picture(image(height, width, channels), "x", redacted=True)
    assert record.width <= min(2, width // 2)
    assert record.height <= min(2, height // 2)
    assert decoded(record).shape == (record.height, record.width)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_difference_map_is_as_coarse(height, width):
    record = difference_map(image(height, width), np.zeros((3, height, width)), "x", redacted=False)
    assert record.width <= min(16, width // 2)
    assert record.height <= min(16, height // 2)


@pytest.mark.parametrize(("mean", "grey"), [(0.0, 0), (0.2, 0), (0.3, 128), (0.7, 128), (0.8, 255), (1.0, 255)])
def test_a_redacted_picture_shows_the_nearest_of_three_greys(mean, grey):
    pixels = np.full((3, 8, 8), mean)
    assert (decoded(picture(pixels, "x", redacted=True)) == grey).all()
    assert (decoded(difference_map(pixels, pixels, "x")) == 255).all()


@pytest.mark.parametrize("redacted", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_holds_pixels_and_no_metadata(redacted, channels):
    content = png(picture(image(24, 24, channels), "private label", redacted=redacted))
    assert set(chunks(content)) == {"IHDR", "IDAT", "IEND"}
    assert b"private label" not in content


def test_a_full_picture_shows_every_pixel():
    pixels = np.round(image(20, 30) * 255) / 255
    shown = decoded(picture(pixels, "x", redacted=False)).transpose(2, 0, 1)
    np.testing.assert_array_equal(shown, np.round(pixels * 255))


def test_a_large_picture_is_reduced():
    record = picture(image(300, 600, 1), "x", redacted=False)
    assert (record.width, record.height) == (120, 60)


def test_values_outside_are_clamped():
    shown = decoded(picture(np.array([[[-1.0, 2.0]]]), "x", redacted=False))
    assert shown.tolist() == [[0, 255]]


def test_equal_images_make_a_white_map_and_opposite_ones_a_black_one():
    dark, bright = np.zeros((3, 8, 8)), np.ones((3, 8, 8))
    assert decoded(difference_map(dark, dark, "x")).min() == 255
    assert decoded(difference_map(dark, bright, "x")).max() == 0


def test_the_same_image_gives_the_same_bytes():
    assert picture(image(9, 9), "x", redacted=True) == picture(image(9, 9), "x", redacted=True)
