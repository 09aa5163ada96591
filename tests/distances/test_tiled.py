"""The tiled distance is the largest of the tiles' distances, for one pair and for all pairs."""

import numpy as np
import pytest

from pytest_diffprivacy.distances import pairwise_l2, pairwise_tiled_l2, rms, tiled_l2
from pytest_diffprivacy.distances.pixels import tile_side
from pytest_diffprivacy.errors import UsageError


def pictures(count, seed, shape=(3, 8, 12)):
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def naive(a, b, rows, columns):
    """METHODS 1.2, word for word."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    _, height, width = a.shape
    found = []
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            part = (slice(None), slice(top, top + rows), slice(left, left + columns))
            found.append(np.sqrt(((a[part] - b[part]) ** 2).mean()))
    return max(found)


@pytest.mark.parametrize(("tile", "sides"), [("grid4", (2, 3)), (4, (4, 4)), (1, (1, 1))])
def test_the_distance_is_that_of_the_most_different_tile(tile, sides):
    a, b = pictures(5, 1), pictures(5, 2)
    expected = [naive(x, y, *sides) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(tiled_l2(a, b, tile=tile), expected, rtol=1e-12)
    together = pairwise_tiled_l2(np.concatenate([a, b]), tile=tile)
    np.testing.assert_allclose(together[range(5), range(5, 10)], expected, rtol=1e-7)
    np.testing.assert_array_equal(together, together.T)
    assert not together.diagonal().any()


def test_one_tile_is_the_plain_distance():
    a, b = pictures(4, 1, (1, 6, 6)), pictures(4, 2, (1, 6, 6))
    np.testing.assert_allclose(tiled_l2(a, b, tile=6), rms(a, b), rtol=1e-12)
    both = np.concatenate([a, b])
    np.testing.assert_allclose(pairwise_l2(both), rms(both[:, None], both[None]), rtol=1e-7, atol=1e-8)


def test_a_shared_background_does_not_make_two_pictures_equal():
    a = np.full((1, 1, 16, 16), 0.9, dtype=np.float32)
    b = a.copy()
    b[..., :4, :4] = 0.1  # another object in one corner
    assert rms(a, b)[0] == pytest.approx(0.2)
    assert tiled_l2(a, b)[0] == pytest.approx(0.8)
    assert pairwise_tiled_l2(np.concatenate([a, b]))[0, 1] == pytest.approx(0.8)


def test_one_grey_level_of_one_pixel_is_told_from_none():
    image = pictures(1, 1, (3, 64, 64)).round(2)
    other = image.copy()
    other[0, 0, 0, 0] += np.float32(1.0 / 255.0)
    distances = pairwise_tiled_l2(np.concatenate([image, other, image, 1 - image]))
    assert distances[0, 1] == pytest.approx(1.0 / 255.0 / np.sqrt(768), rel=1e-3)
    assert distances[0, 2] < 1e-7


def test_the_other_images_change_nothing():
    images = pictures(7, 3)
    whole = pairwise_tiled_l2(images)
    order = [4, 0, 6]
    np.testing.assert_allclose(pairwise_tiled_l2(images[order]), whole[np.ix_(order, order)], rtol=1e-12)


def test_equal_images_are_at_distance_zero():
    images = np.repeat(pictures(1, 1), 20, axis=0)
    assert pairwise_tiled_l2(images).max() < 1e-7
    assert tiled_l2(images, images).max() == 0.0


@pytest.mark.parametrize(("size", "tile", "sides"), [((512, 512), 128, (128, 128)), ((512, 256), "grid4", (128, 64))])
def test_sides_of_a_tile(size, tile, sides):
    assert tile_side(*size, tile) == sides


@pytest.mark.parametrize(("size", "tile"), [((10, 8), "grid4"), ((8, 10), 4), ((3, 3), "grid4"), ((8, 8), 0)])
def test_ragged_tiles_are_refused(size, tile):
    with pytest.raises(UsageError, match=f"must divide images of {size[0]} x {size[1]} pixels without a rest"):
        pairwise_tiled_l2(np.zeros((2, 1, *size), dtype=np.float32), tile=tile)


@pytest.mark.parametrize("tile", ["grid8", None, 2.0, True])
def test_what_is_no_tile_is_refused(tile):
    with pytest.raises(UsageError, match='`tile` must be "grid4" or a number of pixels'):
        tile_side(8, 8, tile)


def test_images_of_other_shapes_are_refused():
    with pytest.raises(UsageError, match=r"must have one shape, got \(2, 3, 8, 12\) and \(3, 3, 8, 12\)"):
        tiled_l2(pictures(2, 1), pictures(3, 1))
    with pytest.raises(UsageError, match=r"must be \(n, channels, height, width\), got shape \(8, 8\)"):
        pairwise_tiled_l2(np.zeros((8, 8), dtype=np.float32))
