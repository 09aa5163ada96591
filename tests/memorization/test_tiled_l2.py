"""Tiled distance as a score of prompts: pairs, reductions and images as a user receives them."""

import numpy as np
import pytest

from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, tiled_l2_scores, watch_prompts
from pytest_diffprivacy.memorization.tiled_l2 import pair_distances
from tests.models.text_builders import prompted_mixtures


def images():
    pixels = np.zeros((1, 3, 1, 8, 8), dtype=np.uint8)
    pixels[0, 1, 0, 0, 0] = 255  # one pixel of one 2 x 2 tile: RMS 1/2 there
    pixels[0, 2, 0, :4] = 51  # half of all tiles: RMS 1/5
    return pixels


def test_the_distance_of_a_pair_is_that_of_its_most_different_tile():
    distances = pair_distances(images())
    corner = np.sqrt((0.8**2 + 3 * 0.2**2) / 4)
    np.testing.assert_allclose(distances[0], [0.5, 0.2, corner], rtol=1e-6)


@pytest.mark.parametrize(("reduction", "expected"), [("mean", None), ("median", None), ("min", 0.2)])
def test_the_pairs_become_one_number_as_asked(reduction, expected):
    distances = pair_distances(images())[0]
    scores = DETECTORS["tiled_l2"](reduction=reduction, tile="grid4").scores({"images": images()})
    np.testing.assert_allclose(scores, -(expected or getattr(np, reduction)(distances)), rtol=1e-6)


def test_a_sharp_prompt_gives_the_same_picture_and_a_broad_one_does_not():
    scores = tiled_l2_scores(
        prompted_mixtures(shape=(1, 4, 4)), ["needle", "broad"], reduction="mean", sampling_steps=20, guidance_scale=1.0
    )
    assert scores[0] > -0.02
    assert scores[1] < -0.1


def test_the_images_are_eight_bit():
    entry = DETECTORS["tiled_l2"]()
    arrays = watch_prompts(prompted_mixtures(shape=(1, 4, 4)), ["broad"], {"a": entry}, PromptSampling(3, 4))["a"]
    assert arrays["images"].dtype == np.uint8
    assert arrays["images"].shape == (1, 3, 1, 4, 4)
