"""Noise belongs to an image and a seed: not to a position, a batch or a number of draws."""

import numpy as np
import torch

from pytest_diffprivacy.models.noise import ProbeDraws, image_digest, probe_noise, start_noise
from tests.models.builders import smooth_images

SHAPE = (1, 8, 8)


def test_an_images_noise_does_not_depend_on_its_position_or_its_batch():
    images = smooth_images(6, 1)
    together = probe_noise(images, 2, SHAPE, seed=7)
    order = [3, 0, 5, 1, 4, 2]
    assert torch.equal(probe_noise(images[order], 2, SHAPE, seed=7), together[:, order])
    for i in range(6):
        assert torch.equal(probe_noise(images[i : i + 1], 2, SHAPE, seed=7), together[:, i : i + 1])


def test_a_draw_does_not_depend_on_how_many_there_are():
    images = smooth_images(2, 1)
    assert torch.equal(probe_noise(images, 5, SHAPE, seed=7)[:2], probe_noise(images, 2, SHAPE, seed=7))


def test_every_draw_image_and_seed_has_its_own_noise():
    images = smooth_images(3, 1)
    one, other = probe_noise(images, 2, SHAPE, seed=7), probe_noise(images, 2, SHAPE, seed=8)
    rows = torch.cat([one, other]).reshape(-1, 64)
    assert len({row.numpy().tobytes() for row in rows}) == 12


def test_equal_images_have_equal_noise_in_any_precision():
    images = smooth_images(2, 1)
    assert torch.equal(probe_noise(images.double(), 1, SHAPE, 0), probe_noise(images, 1, SHAPE, 0))


def test_noise_is_standard_normal_in_float64():
    noise = probe_noise(smooth_images(50, 2), 10, SHAPE, seed=1)
    assert noise.dtype == torch.float64
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1.0) < 0.02


def test_a_generations_start_depends_on_its_own_seed_alone():
    noise = start_noise([4, 9, 4], SHAPE)
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    assert torch.equal(start_noise([9], SHAPE)[0], noise[1])
    assert start_noise([], SHAPE).shape == (0, *SHAPE)


def test_a_generations_start_is_no_probes_noise():
    image = smooth_images(1, 1)
    assert not torch.equal(start_noise([7], SHAPE), probe_noise(image, 1, SHAPE, 7)[0])


def test_a_digest_depends_on_pixels_and_shape_only():
    image = smooth_images(1, 1)[0].numpy()
    assert image_digest(image) == image_digest(image.astype(np.float64)) == image_digest(np.asfortranarray(image))
    assert image_digest(image) != image_digest(image.reshape(1, 4, 16))
    assert image_digest(image) != image_digest(np.nextafter(image, 1.0, dtype=np.float32))


def test_draw_by_draw_noise_is_the_same_and_read_again_as_often_as_wanted():
    images = torch.rand((3, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    whole = probe_noise(images, 4, (1, 6, 6), 7)
    drawn = ProbeDraws(images, 4, (1, 6, 6), 7, torch.empty(0, dtype=torch.float64))
    assert len(drawn) == 4
    for _ in range(2):
        assert torch.equal(torch.stack(list(drawn)), whole)
    single = ProbeDraws(images, 4, (1, 6, 6), 7, torch.empty(0))
    assert torch.equal(torch.stack(list(single)), whole.float())
