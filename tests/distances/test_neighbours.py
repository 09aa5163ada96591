"""The nearest training images are the exact ones, however near, many or equal they are."""

import numpy as np
import pytest

from pytest_diffprivacy.distances import ArrayImages, nearest_images
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
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.SEARCHED_BYTES", 10 * 36 * 4)
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.EXACT_BYTES", 2 * 36 * 8)
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
