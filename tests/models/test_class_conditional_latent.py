"""Class-conditional latent models: the class reaches the network, "no class" is one, wrong classes are named."""

import pytest
import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import ClassToImage, WhiteBoxDenoiser, load_model
from tests.models.family_builders import dit


@pytest.fixture(scope="module")
def model():
    return load_model(dit())


def test_it_offers_white_box_access(model):
    assert isinstance(model, ClassToImage)
    assert isinstance(model, WhiteBoxDenoiser)
    assert (model.sample_shape, model.image_shape) == ((4, 8, 8), (3, 16, 16))
    assert sum(p.numel() for _, p in model.named_parameters()) == model.identity.parameters


def test_no_prompt_is_the_class_that_was_trained_as_none(model):
    assert model.condition(None, 2)["class_labels"].tolist() == [1000, 1000]
    x = torch.zeros(1, *model.sample_shape)
    with torch.no_grad():
        blank, named = model.predict_eps(x, 500), model.predict_eps(x, 500, model.condition([3], 1))
    assert not torch.equal(blank, named)
    torch.testing.assert_close(
        model.generate([7], steps=2), model.generate([7], steps=2, guidance_scale=1.0), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("prompts", "message"), [([1000], "with 1000 among"), (["cat"], "got 'cat'"), ([1, 2], "got 2")]
)
def test_prompts_that_are_no_classes_are_refused(model, prompts, message):
    with pytest.raises(ModelError, match=message):
        model.condition(prompts, 1)


def test_generating_leaves_the_users_scheduler_as_it_was():
    pipeline = dit()
    before = pipeline.scheduler.timesteps.clone()
    load_model(pipeline).generate([1], prompts=[2], steps=2)
    assert torch.equal(pipeline.scheduler.timesteps, before)


def test_a_scheduler_or_resolution_beside_the_pipeline_is_refused():
    with pytest.raises(ModelError, match="`scheduler` must be left out for a pipeline object"):
        load_model(dit(), scheduler=dit().scheduler)
    with pytest.raises(ModelError, match="`resolution` must be None for a model that takes no texts, got 32"):
        load_model(dit(), resolution=32)
