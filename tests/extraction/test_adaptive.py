"""The adaptive distance: equal to its definition, and blind to how often an image was repeated."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction import adaptive_distances
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.probes import ImageSet
from tests.models.builders import memorizer, smooth_images


def rms(a, b):
    return np.sqrt(((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean((-3, -2, -1)))


def naive(query, train, repetitions, *, n, alpha=0.5, delta=0.02):
    """METHODS 1.3, word for word."""
    d = rms(query, train)
    nearest = d.argmin()
    size = min(n, len(train) - 1)
    around = np.sort(d[rms(train, train[nearest]) > delta])[:size]
    with_copies = np.sort(np.repeat(d, repetitions))[:n]
    literal = d[nearest] / (alpha * with_copies.mean()) if with_copies.any() else 1.0  # a copy among copies
    return nearest, d[nearest], d[nearest] / (alpha * around.mean()), literal


def crowded_training_set():
    """Distinct images, some repeated, one of them with many near-duplicates that are not equal to it."""
    rng = np.random.default_rng(7)
    plain = rng.random((40, 1, 5, 5)).astype(np.float32) * 0.9
    near = plain[:1] + rng.uniform(0, 0.01, (25, 1, 5, 5)).astype(np.float32)
    images = np.concatenate([plain, near])
    repetitions = rng.integers(1, 5, len(images))
    return images, repetitions


@pytest.mark.parametrize("neighbours", [1, 5, 30, 100])
def test_the_distance_is_that_of_the_definition(neighbours):
    images, repetitions = crowded_training_set()
    training = ImageSet.of(np.repeat(images, repetitions, axis=0), "member")
    assert training.repetitions.tolist() == repetitions.tolist()
    rng = np.random.default_rng(8)
    queries = np.concatenate([images[[0, 3, 41]] + 0.005, rng.random((6, 1, 5, 5)), images[[5, 0]]]).astype(np.float32)
    found = adaptive_distances(queries, training, neighbours=neighbours)
    for row, query in enumerate(queries):
        nearest, l2, adaptive, literal = naive(query, images, repetitions, n=neighbours)
        assert found.nearest[row] == nearest
        assert found.l2[row] == pytest.approx(l2, rel=1e-7)
        assert found.adaptive[row] == pytest.approx(adaptive, rel=1e-7)
        assert found.literal[row] == pytest.approx(literal, rel=1e-7)
    assert found.neighbours == min(neighbours, len(images) - 1)


@pytest.mark.parametrize(("copies", "literal"), [(1, 0.204), (5, 0.220), (25, 0.364), (49, 1.69), (50, 2.0), (80, 2.0)])
def test_copies_raise_the_literal_form_and_not_ours(copies, literal):
    rng = np.random.default_rng(9)
    query = np.full((1, 1, 8, 8), 0.5)
    nearest = query + 0.02
    others = query + 0.2 * rng.choice([-1.0, 1.0], (70, 1, 8, 8))
    training = ImageSet.of(np.concatenate([np.repeat(nearest, copies, axis=0), others]), "member")
    found = adaptive_distances(query.astype(np.float32), training)
    assert found.literal[0] == pytest.approx(literal, abs=0.006)
    assert found.adaptive[0] == pytest.approx(0.200, abs=1e-5)


def test_a_copy_is_at_distance_zero():
    images = smooth_images(10, 1).numpy()
    found = adaptive_distances(images[[4]], ImageSet.of(images, "member"))
    assert (found.nearest[0], found.l2[0], found.adaptive[0]) == (4, 0.0, 0.0)


def test_samples_of_a_memorizing_model_are_near_copies_however_often_an_image_was_repeated():
    """T6 of METHODS, smaller: the literal form misses the image that is repeated most."""
    images = smooth_images(24, 3, side=4, channels=3)
    repetitions = torch.tensor([50, 5] + [1] * 22)
    samples = memorizer(images, repetitions).generate(range(150), steps=20)
    samples = samples + 0.01 * probe_noise(samples, 1, samples.shape[1:], seed=1)[0]
    training = ImageSet.of(np.repeat(images.numpy(), repetitions.numpy(), axis=0), "member")
    found = adaptive_distances(samples.clamp(0, 1).numpy().astype(np.float32), training)
    most_repeated = found.nearest == 0
    assert 0.5 < most_repeated.mean() < 0.8  # 50 of 77 training images
    assert (~most_repeated).sum() > 20
    assert found.adaptive.max() < 0.12
    np.testing.assert_allclose(found.literal[most_repeated], 2.0, rtol=1e-9)
    assert found.literal[~most_repeated].max() < 0.15


def test_unseen_images_are_not_conspicuous():
    training = ImageSet.of(smooth_images(60, 1), "member")
    found = adaptive_distances(smooth_images(20, 2).numpy(), training)
    assert found.adaptive.min() > 1.0


def test_the_number_of_neighbours_is_bounded_by_the_distinct_images():
    images = smooth_images(5, 1).numpy()
    found = adaptive_distances(images[:1], ImageSet.of(np.concatenate([images, images]), "member"))
    assert found.neighbours == 4


def test_too_few_distinct_images_are_refused():
    images = smooth_images(2, 1).numpy()
    with pytest.raises(UsageError, match="at least 3 distinct training images, got 2"):
        adaptive_distances(images, ImageSet.of(np.concatenate([images] * 5), "member"))


def test_a_training_set_of_near_duplicates_has_no_neighbourhood():
    images = 0.5 + 0.001 * smooth_images(6, 1).numpy()
    with pytest.raises(UsageError, match=r"within 0.02 of each other: no neighbourhood is left. Lower duplicate_delta"):
        adaptive_distances(images[:1], ImageSet.of(images, "member"))
