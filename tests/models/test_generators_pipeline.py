"""Pipelines as black boxes: their own images by seed and prompt, and nothing that they do not offer."""

import pytest
import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import Denoiser, Generator, PipelineGenerator
from tests.models.text_builders import golden_pipeline

TEXTS = ["a dog on the moon", "cat"]


def test_any_pipeline_that_takes_prompts_is_a_generator_and_nothing_more():
    model = PipelineGenerator(golden_pipeline(), name="hosted")
    assert isinstance(model, Generator)
    assert not isinstance(model, Denoiser)
    assert (model.identity.name, model.identity.access) == ("hosted", "black box")
    assert model.identity.family == "StableDiffusionPipeline"
    images = model.generate([1, 2], prompts=TEXTS, steps=2)
    assert images.shape == (2, 3, 16, 16)
    torch.testing.assert_close(model.generate([2], prompts=TEXTS[1:], steps=2), images[1:], rtol=0, atol=1e-5)


def test_no_prompt_is_the_empty_prompt_without_guidance():
    model = PipelineGenerator(golden_pipeline())
    bare = model.generate([4], prompts=[""], steps=2, guidance_scale=1.0)
    torch.testing.assert_close(model.generate([4], steps=2), bare)


def test_the_resolution_can_be_chosen_and_is_part_of_the_digest():
    model = PipelineGenerator(golden_pipeline(), resolution=32)
    assert model.generate([1], prompts=["cat"], steps=1).shape == (1, 3, 32, 32)
    assert model.identity.digest != PipelineGenerator(golden_pipeline()).identity.digest


def test_the_digest_names_the_weights():
    pipeline = golden_pipeline()
    before = PipelineGenerator(pipeline).identity.digest
    with torch.no_grad():
        next(pipeline.unet.parameters()).add_(1e-3)
    assert PipelineGenerator(pipeline).identity.digest != before


@pytest.mark.parametrize("prompts", [["cat"], ["cat", 3]])
def test_prompts_that_do_not_fit_are_refused(prompts):
    with pytest.raises(ModelError, match="`prompts` must be 2 texts, one for each seed"):
        PipelineGenerator(golden_pipeline()).generate([1, 2], prompts=prompts)
