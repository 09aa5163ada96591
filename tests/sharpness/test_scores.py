"""Sharpness scores: their closed forms, higher where memory is, and the same in every batch."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import AuditError, ModelError, UsageError
from pytest_diffprivacy.models import PixelDiffusion, ReferenceTimestep
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.sharpness import hessian_score_scores, score_norm_scores
from pytest_diffprivacy.statistics import auroc
from tests.models.builders import (
    binary_images,
    memorizer,
    population_images,
    population_model,
    smooth_images,
    tiny_unet,
)

SCORES = {"score norm": score_norm_scores, "Hessian-score product": hessian_score_scores}
sharpness = pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)


@pytest.fixture(scope="module")
def network():
    return PixelDiffusion(tiny_unet(), DDPMScheduler())


@pytest.mark.parametrize("power", [0, 1])
def test_the_scores_are_means_of_closed_form_norms(power):
    model, images = population_model(), population_images(5, 1)
    alpha, sigma = model.schedule.at(100)
    norms = []
    for eps in probe_noise(images, 4, model.sample_shape, seed=3):
        x_t = alpha * model.encode(images) + sigma * eps
        vector = model.score(x_t, 100).flatten(1)
        if power:
            vector = torch.einsum("nij,nj->ni", model.hessian(x_t, 100), vector)
        norms.append(vector.norm(dim=1).numpy())
    scores = (score_norm_scores, hessian_score_scores)[power](model, images, seed=3)
    np.testing.assert_allclose(scores, np.mean(norms, axis=0), rtol=1e-10)


def test_around_a_memorized_image_both_norms_are_those_of_one_point():
    images = binary_images(12, 1)
    model = memorizer(images)
    _, sigma = model.schedule.at(100)
    noise = probe_noise(images, 1, model.sample_shape, seed=0)
    norm = noise[0].flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(score_norm_scores(model, images, noise=noise), norm / sigma, rtol=1e-9)
    np.testing.assert_allclose(hessian_score_scores(model, images, noise=noise), norm / sigma**3, rtol=1e-9)


@sharpness
def test_a_memorizing_model_is_sharper_than_one_of_the_population(scores):
    images = population_images(40, 2)
    sharp, flat = scores(memorizer(images[:4]), images[:4]), scores(population_model(), images[:4])
    assert (sharp > flat).all()


@sharpness
def test_a_model_without_members_separates_nothing(scores):
    values = scores(population_model(), population_images(240, 31))
    area = auroc(values[:120], values[120:])
    assert area.low <= 0.5 <= area.high


@sharpness
@pytest.mark.slow
def test_batches_change_nothing_beyond_rounding(scores, network):
    images = smooth_images(5, 3)
    together = scores(network, images)
    np.testing.assert_allclose(scores(network, images, batch_size=2), together, rtol=1e-5)
    assert np.array_equal(scores(network, images), together)


@sharpness
def test_the_default_timestep_follows_the_signal_to_noise_ratio(scores):
    cosine = PixelDiffusion(tiny_unet(), DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    images = smooth_images(2, 1)
    own = scores(cosine, images, timestep=203)
    assert np.array_equal(scores(cosine, images), own)
    assert np.array_equal(scores(cosine, images, timestep=ReferenceTimestep(100)), own)
    assert not np.array_equal(scores(cosine, images, timestep=100), own)


@sharpness
def test_a_prompt_belongs_to_its_image(scores):
    model, images = PixelDiffusion(tiny_unet(classes=4), DDPMScheduler()), smooth_images(3, 1)
    values = scores(model, images, prompts=[0, 1, 2])
    np.testing.assert_allclose(scores(model, images, prompts=[0, 1, 2], batch_size=1), values, rtol=1e-5)
    with pytest.raises(UsageError, match="one prompt for each of the 3 images, got 1"):
        scores(model, images, prompts=[0])
    with pytest.raises(ModelError, match="every image needs its class index"):
        scores(model, images)


@sharpness
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timestep": 1000}, "`timestep` must be between 0 and 999, got 1000"),
        ({"draws": 0}, "`draws` must be at least 1, got 0"),
        ({"noise": torch.zeros(2, 1, 8, 8)}, r"`noise` must have shape \(draws, 3, "),
        ({"batch_size": 0}, "`batch_size`"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(scores, network, arguments, message):
    with pytest.raises(UsageError, match=message):
        scores(network, smooth_images(3, 1), **arguments)


@sharpness
def test_a_nan_from_the_model_is_an_error(scores):
    unet = tiny_unet()
    with torch.no_grad():
        unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(AuditError, match="not finite for 2 of 2 images"):
        scores(PixelDiffusion(unet, DDPMScheduler()), smooth_images(2, 1))


def test_derivatives_need_a_white_box():
    with pytest.raises(ModelError, match="The Hessian-score product needs white-box access, but object"):
        hessian_score_scores(object(), smooth_images(1, 1))
    with pytest.raises(ModelError, match="The score norm needs grey-box access, but object"):
        score_norm_scores(object(), smooth_images(1, 1))
