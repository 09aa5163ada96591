"""The nearest training images are the exact ones, however near, many or equal they are; large ones by bounds."""

import numpy as np
import pytest

from pytest_diffprivacy.distances import ArrayImages, count_within, nearest_images
from pytest_diffprivacy.distances.bounds import features_of
from pytest_diffprivacy.distances.squares import byte_products
from pytest_diffprivacy.errors import UsageError


def pictures(count, seed, shape=(1, 6, 6)):
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def brute_force(queries, searched, k):
    """The naive twin: every distance in float64, ties by position."""
    a, b = (x.astype(np.float64).reshape(len(x), -1) for x in (queries, searched))
    distances = np.sqrt(((a[:, None] - b[None]) ** 2).mean(2))
    order = distances.argsort(1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, 1)


@pytest.mark.parametrize("block", [1, 3, 7, 50, 100])
@pytest.mark.parametrize("k", [1, 5, 20, 50])
def test_the_neighbours_are_those_of_brute_force(monkeypatch, block, k):
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.SEARCHED_ROWS", block)
    queries, searched = pictures(9, 1), pictures(50, 2)
    found = nearest_images(queries, ArrayImages(searched), k)
    indices, distances = brute_force(queries, searched, k)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-7)


def test_queries_are_searched_for_in_parts_that_fit_the_memory(monkeypatch):
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.QUERY_BYTES", 5 * 36 * 4)
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.READ_BYTES", 10 * 36 * 4)
    monkeypatch.setattr("pytest_diffprivacy.distances.squares.EXACT_BYTES", 2 * 36 * 8)
    monkeypatch.setattr("pytest_diffprivacy.distances.candidates.TILE_BYTES", 100)
    queries, searched = pictures(11, 1), pictures(300, 2)
    found = nearest_images(queries, ArrayImages(searched), 3)
    np.testing.assert_array_equal(found.indices, brute_force(queries, searched, 3)[0])


def test_large_images_are_multiplied_in_parts(monkeypatch):
    monkeypatch.setattr("pytest_diffprivacy.distances.candidates.PRODUCT_VALUES", 10)
    queries, searched = pictures(5, 1), pictures(60, 2)
    np.testing.assert_array_equal(
        nearest_images(queries, ArrayImages(searched), 4).indices, brute_force(queries, searched, 4)[0]
    )


def test_the_order_of_the_searched_images_does_not_matter(monkeypatch):
    """Ever nearer images, block after block: every block replaces all that was found before."""
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.SEARCHED_ROWS", 40)
    queries, searched = pictures(3, 1), pictures(400, 2)
    order = brute_force(queries[:1], searched, 400)[0][0][::-1]
    found = nearest_images(queries, ArrayImages(searched[order]), 5)
    np.testing.assert_array_equal(order[found.indices], brute_force(queries, searched, 5)[0])


def test_where_rounding_could_hide_a_neighbour_the_search_widens():
    """500 images that float32 products cannot tell apart: the nearest must be found all the same."""
    rng = np.random.default_rng(3)
    query = rng.random((1, 3, 32, 32), dtype=np.float32)
    searched = np.repeat(query, 500, axis=0)
    pixels = rng.integers(0, query.size, 500)
    searched.reshape(500, -1)[range(500), pixels] += rng.permutation(500).astype(np.float32) * 1e-4 + 1e-4
    queries = np.concatenate([query, rng.random((1, 3, 32, 32), dtype=np.float32)])
    found = nearest_images(queries, ArrayImages(searched), 3)
    indices, distances = brute_force(queries, searched, 3)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


def test_equal_images_are_found_in_their_order():
    searched = pictures(6, 2)[[0, 1, 0, 2, 0, 3]]
    found = nearest_images(searched[:1], ArrayImages(searched), 3)
    assert found.indices.tolist() == [[0, 2, 4]]
    assert found.distances.tolist() == [[0.0, 0.0, 0.0]]


def test_a_set_of_one_image_repeated_is_searched_in_its_order():
    searched = np.repeat(pictures(1, 2), 200, axis=0)
    found = nearest_images(searched[:2], ArrayImages(searched), 4)
    assert found.indices.tolist() == [[0, 1, 2, 3]] * 2
    assert found.distances.max() == 0.0


@pytest.mark.parametrize("brightness", [0.0, 0.9])
def test_near_copies_are_not_lost_to_cancellation(brightness):
    rng = np.random.default_rng(5)
    queries = (brightness + 0.1 * rng.random((4, 3, 16, 16))).astype(np.float32)
    shifts = np.array([3e-4, 1e-4, 2e-4])
    copies = np.concatenate([queries + np.float32(shift) for shift in shifts])
    searched = np.concatenate([pictures(200, 6, (3, 16, 16)), copies])
    found = nearest_images(queries, ArrayImages(searched), 3)
    indices, distances = brute_force(queries, searched, 3)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-7)
    np.testing.assert_allclose(found.distances[:, 0], 1e-4, rtol=1e-2)


def test_distances_are_root_mean_squares():
    black, white = np.zeros((1, 3, 5, 5), dtype=np.float32), np.ones((1, 3, 5, 5), dtype=np.float32)
    assert nearest_images(black, ArrayImages(white), 1).distances.tolist() == [[1.0]]


@pytest.mark.parametrize("k", [0, -1, 7])
def test_more_neighbours_than_images_are_refused(k):
    with pytest.raises(UsageError, match=f"`k` must be between 1 and the 6 searched images, got {k}"):
        nearest_images(pictures(2, 1), ArrayImages(pictures(6, 2)), k)


def test_images_of_another_size_are_refused():
    with pytest.raises(UsageError, match=r"must have shape \(1, 6, 6\), got \(1, 5, 5\)"):
        nearest_images(pictures(2, 1), ArrayImages(pictures(6, 2, (1, 5, 5))), 1)


class Counted:
    """A searched set that counts how often each image is read."""

    def __init__(self, images):
        self._images = ArrayImages(images)
        self.image_shape, self.in_bytes, self.features = images.shape[1:], self._images.in_bytes, self._images.features
        self.reads = np.zeros(len(images), dtype=int)

    def __len__(self):
        return len(self._images)

    def pixels(self, indices):
        self.reads[list(indices)] += 1
        return self._images.pixels(list(indices))


def smooth(count, seed, shape):
    """Pictures of few frequencies, as photographs are."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.random((count, channels, 5, 6))
    rows, columns = (np.abs(np.linspace(0, n - 1, m)[:, None] - np.arange(n)) for m, n in ((height, 5), (width, 6)))
    blend = [np.clip(1 - d, 0, 1) for d in (rows, columns)]
    return np.einsum("hi,ncij,wj->nchw", blend[0], coarse, blend[1])


def large(kind, count, seed, shape=(3, 70, 93)):
    rng = np.random.default_rng(seed)
    if kind == "white noise":
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    if kind == "constant":
        return np.broadcast_to(rng.integers(0, 4, (count, 1, 1, 1), dtype=np.uint8), (count, *shape)).copy()
    images = (255 * smooth(count, seed, shape)).round().astype(np.uint8)
    if kind == "copies":
        images[count // 2 :] = images[: count - count // 2]
        images[count // 2 :: 2, :, 0, 0] ^= 1
    return images if kind != "floats" else smooth(count, seed, shape).astype(np.float32)


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("kind", ["photographs", "copies", "constant", "white noise", "floats"])
def test_large_images_are_found_by_bounds_and_read_once(monkeypatch, kind, k):
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.READ_BYTES", 7 * 3 * 70 * 93)
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.BOUNDED", 13)
    searched = Counted(large(kind, 40, 1))
    queries = np.concatenate([large(kind, 6, 2), searched.pixels([3, 25, 39])])
    searched.reads[:] = 0
    found = nearest_images(queries, searched, k)
    wide = searched.pixels(range(40)).astype(np.float64).reshape(40, -1)
    squared = ((queries.astype(np.float64).reshape(len(queries), 1, -1) - wide) ** 2).sum(2)
    order = squared.argsort(1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.indices, order)
    unit = 1.0 if kind == "floats" else 255.0
    expected = np.sqrt(np.take_along_axis(squared, order, 1) / wide.shape[1]) / unit
    np.testing.assert_allclose(found.distances, expected, rtol=1e-7 if kind == "floats" else 1e-14)
    assert searched.reads.max() <= 2  # of which the test itself read one


def test_bounds_leave_most_photographs_unread():
    images = large("photographs", 300, 3)
    searched = Counted(images)
    nearest_images(images[:5] ^ np.uint8(1), searched, 1)
    assert 5 <= (searched.reads > 0).sum() < 30


def test_bytes_asked_as_floats_are_bytes_and_other_floats_are_compared_as_they_are():
    images = large("photographs", 30, 4)
    floats = images.astype(np.float32) / np.float32(255.0)
    one, other = nearest_images(images[:4], ArrayImages(images), 3), nearest_images(floats[:4], Counted(images), 3)
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.distances, other.distances)
    moved = nearest_images(floats[:4] * np.float32(0.999), ArrayImages(images), 3)
    np.testing.assert_array_equal(moved.indices, brute_force(floats[:4] * np.float32(0.999), floats, 3)[0])


@pytest.mark.parametrize("kind", ["photographs", "copies", "constant", "white noise", "floats"])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 33, 64), (1, 200, 65)])
def test_bounds_hold(kind, shape):
    a, b = large(kind, 12, 1, shape), large(kind, 9, 2, shape)
    one, other = features_of(a), features_of(b)
    lower, upper = one.bounds(other)
    wide = [x.reshape(len(x), -1).astype(np.float64) / (1.0 if kind == "floats" else 255.0) for x in (a, b)]
    exact = ((wide[0][:, None] - wide[1]) ** 2).sum(2)
    assert (lower <= exact * (1 + 1e-12)).all()
    assert (upper >= exact * (1 - 1e-12)).all()
    below, above = one.between(np.arange(11), np.arange(1, 12))
    exact = ((wide[0][:-1] - wide[0][1:]) ** 2).sum(1)
    assert (below <= exact * (1 + 1e-12)).all()
    assert (above >= exact * (1 - 1e-12)).all()
    if kind == "constant":
        np.testing.assert_allclose(np.sqrt(below.clip(0)), np.sqrt(exact), atol=1e-2)


@pytest.mark.parametrize("whole", [True, False])
def test_products_of_bytes_are_exact(monkeypatch, whole):
    monkeypatch.setattr("pytest_diffprivacy.distances.squares._integer_products", [] if whole else [False])
    rng = np.random.default_rng(1)
    a, b = (rng.choice([0, 255, 128, 7], (n, 40_001)).astype(np.uint8) for n in (5, 3))
    a[0], b[0] = 0, 0
    expected = (a.astype(np.int64) - 128) @ (b.astype(np.int64) - 128).T
    np.testing.assert_array_equal(byte_products(a, b), expected)


def test_counting_large_images_reads_only_what_bounds_leave_open():
    images = large("copies", 60, 5)
    searched = Counted(images)
    exact = ((images[:9].astype(np.float64)[:, None] - images) ** 2).mean((2, 3, 4)) ** 0.5 / 255.0
    for radius in (0.0, 0.001, 0.1, 0.25):
        searched.reads[:] = 0
        assert count_within(images[:9], searched, radius).tolist() == (exact <= radius).sum(1).tolist()
    assert (searched.reads == 0).any()
