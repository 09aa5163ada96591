"""Near pairs: those that brute force finds, whatever the blocks, and none lost to rounding."""

import numpy as np
import pytest

from pytest_diffprivacy.distances import near_pairs
from pytest_diffprivacy.errors import UsageError


def found(vectors, max_squared, rows=None):
    parts = list(near_pairs(lambda part: vectors[list(part)], len(vectors), max_squared, rows=rows))
    pairs = [(i, j) for part in parts for i, j in zip(part.first.tolist(), part.second.tolist(), strict=True)]
    assert len(set(pairs)) == len(pairs)
    return set(pairs)


def brute_force(vectors, max_squared):
    exact = vectors.astype(np.float64)
    return {
        (i, j)
        for i in range(len(exact))
        for j in range(i + 1, len(exact))
        if ((exact[i] - exact[j]) ** 2).sum() <= max_squared
    }


@pytest.mark.parametrize("rows", [1, 7, 40, 64])
def test_the_pairs_are_those_of_brute_force_in_blocks_of_any_size(rows):
    vectors = np.random.default_rng(1).random((40, 6), dtype=np.float32)
    expected = brute_force(vectors, 0.4)
    assert 20 < len(expected) < 400
    assert found(vectors, 0.4, rows) == expected


def test_near_copies_of_bright_images_are_not_lost_to_rounding():
    rng = np.random.default_rng(2)
    images = (0.9 + 0.1 * rng.random((30, 3, 16, 16))).astype(np.float32)
    copies = images + np.float32(1e-4) * rng.standard_normal(images.shape).astype(np.float32)
    both = np.concatenate([images, copies])
    limit = 768 * (2e-4) ** 2
    assert found(both, limit, rows=16) == {(i, i + 30) for i in range(30)}
    assert found(both, limit / 16.0) == set()


def test_a_distance_at_the_limit_is_near_and_one_above_is_not():
    vectors = np.array([[0.0, 0.0], [0.5, 0.0], [1.25, 0.0]], dtype=np.float32)
    assert found(vectors, 0.25) == {(0, 1)}
    assert found(vectors, np.nextafter(0.25, 0.0)) == set()


def test_distances_come_with_the_pairs():
    (part,) = near_pairs(lambda part: np.array([[0.0], [0.5], [9.0]], dtype=np.float32)[list(part)], 3, 1.0)
    assert part.squared.tolist() == [0.25]


def test_nothing_has_no_pairs():
    assert found(np.empty((0, 4), dtype=np.float32), 1.0) == set()
    assert found(np.zeros((1, 4), dtype=np.float32), 1.0) == set()


@pytest.mark.parametrize("limit", [-1e-9, float("nan")])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(UsageError, match="`max_squared` must be at least 0"):
        next(near_pairs(lambda part: np.zeros((2, 1), dtype=np.float32), 2, limit))
