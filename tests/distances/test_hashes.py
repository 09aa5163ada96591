"""Perceptual hashes: near for what a copy may suffer, far for other images, and a distance that counts bits."""

import numpy as np

from pytest_diffprivacy.distances import perceptual_hashes


def pictures(count, seed, side=64):
    """Smooth random images: a few low frequencies each."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.arange(side) / side, np.arange(side) / side, indexing="ij")
    waves = [
        rng.normal(size=(count, 1, 1)) * np.cos(np.pi * (u * rows + v * columns))
        for u in range(5)
        for v in range(5)
        if u + v
    ]
    total = sum(waves)
    low, high = total.min((1, 2), keepdims=True), total.max((1, 2), keepdims=True)
    return ((total - low) / (high - low)).astype(np.float32)[:, None]


def bits(a, b):
    return ((perceptual_hashes(a) != perceptual_hashes(b)).sum(1)).tolist()


def test_a_brighter_noisier_or_smaller_copy_has_nearly_the_same_hash():
    images = pictures(20, 1)
    noise = 0.02 * np.random.default_rng(2).standard_normal(images.shape).astype(np.float32)
    assert max(bits(images, images * 0.8 + 0.1)) <= 2
    assert max(bits(images, images + noise)) <= 8
    assert max(bits(images, images[:, :, ::2, ::2])) <= 8


def test_other_and_inverted_images_have_other_hashes():
    images = pictures(20, 3)
    assert min(bits(images[:10], images[10:])) > 12
    assert min(bits(images, 1.0 - images)) > 50


def test_the_squared_distance_is_four_times_the_bits():
    a, b = perceptual_hashes(pictures(5, 4)), perceptual_hashes(pictures(5, 5))
    assert a.shape == (5, 63)
    assert set(np.unique(a)) == {-1.0, 1.0}
    assert (np.square(a - b).sum(1) == 4 * (a != b).sum(1)).all()


def test_flat_images_share_one_hash_whatever_their_brightness():
    flat = np.stack([np.full((3, 40, 40), value, dtype=np.float32) for value in (0.0, 0.3, 1.0)])
    assert (perceptual_hashes(flat) == -1.0).all()
