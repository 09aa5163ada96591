"""Bright ending: the mask on networks of other shapes, and weights that must not matter."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.memorization.bright_ending import end_token_mask
from pytest_diffprivacy.memorization.observation import Attention
from pytest_diffprivacy.models import load_model
from tests.models.text_builders import golden_pipeline, other_unet


def attention(*maps):
    return Attention(torch.zeros(2, len(maps[0]), 5), maps)


def test_the_mask_is_the_attention_to_the_end_token():
    first, second = (torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    mask = end_token_mask(attention(first, second), torch.tensor([3, 5]), (2, 3))
    expected = (first[0, :, 2] + second[0, :, 2]) / 2
    torch.testing.assert_close(mask[0, 0].flatten(), expected)
    torch.testing.assert_close(mask[1, 0].flatten(), (first[1, :, 4] + second[1, :, 4]) / 2)


def test_a_coarser_layer_is_left_out_and_a_coarse_mask_is_repeated():
    fine, coarse = torch.rand(1, 16, 5), torch.rand(1, 4, 5)
    torch.testing.assert_close(
        end_token_mask(attention(fine, coarse), torch.tensor([2]), (4, 4)),
        end_token_mask(attention(fine), torch.tensor([2]), (4, 4)),
    )
    mask = end_token_mask(attention(coarse), torch.tensor([2]), (4, 4))[0, 0]
    assert mask.shape == (4, 4)
    torch.testing.assert_close(mask[:2, :2], torch.full((2, 2), float(coarse[0, 0, 1])))


@pytest.mark.parametrize("name", ["bright_ending", "attention_entropy", "layerwise_entropy"])
def test_any_number_of_heads_and_any_resolution_will_do(name):
    parts = golden_pipeline().components | {"unet": other_unet()}
    model = load_model(StableDiffusionPipeline(**parts, requires_safety_checker=False))
    entry = DETECTORS[name](**{"attention_entropy": {"last": 2}, "layerwise_entropy": {"layer": 1}}.get(name, {}))
    arrays = watch_prompts(model, ["cat", "a dog on the moon"], {name: entry}, PromptSampling(2, 4))[name]
    scores = entry.scores(arrays)
    assert scores.shape == (2,)
    assert (scores > 0).all()
    if name == "bright_ending":
        assert arrays["mask"].shape == (2, 2, 6, 6)


def test_norms_under_a_mask_without_contrast_are_the_plain_norms():
    bright, plain = DETECTORS["bright_ending"]().observation(), DETECTORS["score_difference"]().observation()
    uniform = attention(torch.full((1, 16, 5), 0.2))

    class Step:
        x_t, pull, last, attention = torch.zeros(1, 4, 4, 4), torch.rand(1, 4, 4, 4), True, uniform
        token_counts, timestep = np.array([3]), 0

    under_mask, unmasked = (
        one.kept({name: [tensor] for name, tensor in one.observe(Step()).items()})["norms"] for one in (bright, plain)
    )
    np.testing.assert_allclose(under_mask, unmasked, rtol=1e-6)
