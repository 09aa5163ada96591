"""How many near-copies an image has, and how far it lies from the others: equal to the definitions."""

import numpy as np
import pytest

from pytest_diffprivacy.distances import ArrayImages, Embedding, count_within
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.extraction import eidetic_counts, outlierness
from pytest_diffprivacy.probes import ImageSet
from tests.models.builders import smooth_images


def rms(a, b):
    return np.sqrt(((a[:, None].astype(np.float64) - b[None]) ** 2).mean((2, 3, 4)))


def test_k_counts_near_copies_with_their_repetitions():
    plain = smooth_images(12, 1).numpy()
    near = np.clip(plain[:1] + 0.01, 0, 1)
    images = np.concatenate([plain, near])
    repetitions = np.array([3, *[1] * 11, 2])
    members = ImageSet.of(np.repeat(images, repetitions, axis=0), "member")
    assert eidetic_counts(members, np.array([0, 5, 12]), 0.05).tolist() == [5, 1, 5]
    assert eidetic_counts(members, np.array([0]), 0.001).tolist() == [3]
    assert eidetic_counts(members, np.array([], dtype=np.int64), 0.05).tolist() == []


@pytest.mark.parametrize("block", [1, 7, 100])
def test_counting_is_that_of_brute_force_in_blocks_of_any_size(monkeypatch, block):
    monkeypatch.setattr("pytest_diffprivacy.distances.neighbours.BOUNDED", block)
    queries, searched = smooth_images(6, 1).numpy(), smooth_images(60, 2).numpy()
    distances = rms(queries, searched)
    radius = float(np.sort(distances.ravel())[100])  # some are exactly on it
    expected = (distances <= radius).sum(1)
    assert 0 < expected.sum() < expected.size * 60
    assert count_within(queries, ArrayImages(searched), radius * (1 + 1e-12)).tolist() == expected.tolist()


def test_outlierness_is_the_mean_distance_to_the_nearest_others():
    images = smooth_images(30, 3).numpy()
    images[7] = 1.0 - images[7].round()  # black and white among greys
    found = outlierness(ImageSet.of(images, "member"), neighbours=4)
    distances = np.sort(rms(images, images), axis=1)[:, 1:5]
    np.testing.assert_allclose(found, distances.mean(1), rtol=1e-6)
    assert found.argmax() == 7


def test_outlierness_in_the_space_of_an_embedding():
    images = smooth_images(20, 3).numpy()
    brightness = Embedding.of(lambda x: x.mean((1, 2, 3))[:, None] * 0 + 1.0, name="blind", version="1")
    assert outlierness(ImageSet.of(images, "member"), embedding=brightness).max() == 0.0
    pixels = Embedding.of(lambda x: x.flatten(1), name="pixels", version="1")
    found = outlierness(ImageSet.of(images, "member"), embedding=pixels, neighbours=3)
    unit = images.reshape(20, -1) / np.linalg.norm(images.reshape(20, -1), axis=1, keepdims=True)
    expected = np.sort(rms(unit[:, :, None, None], unit[:, :, None, None]), axis=1)[:, 1:4].mean(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_one_image_has_no_others():
    with pytest.raises(UsageError, match="at least 2 distinct images, to tell outliers, got 1"):
        outlierness(ImageSet.of(smooth_images(1, 1).numpy(), "member"))
