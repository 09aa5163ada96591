"""Score and Hessian-score product: equal to closed forms and to central differences."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.models import AnalyticDenoiser, PixelDiffusion
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.sharpness import hessian_score_product, score
from tests.models.builders import golden_inputs, golden_model, mixture, population_model, tiny_unet

TIMESTEPS = [0, 50, 100, 300, 900]


def points(model, timestep, count=4):
    alpha, sigma = model.schedule.at(timestep)
    rng = np.random.default_rng(17)
    x0, eps = rng.normal(0.0, 0.7, (count, *model.sample_shape)), rng.normal(size=(count, *model.sample_shape))
    return torch.from_numpy(alpha * x0 + sigma * eps)


def relative(ours, expected):
    return float((ours - expected).norm() / expected.norm())


def central_difference(model, x, timestep, step):
    s = score(model, x, timestep)
    with torch.no_grad():
        return (score(model, x + step * s, timestep) - score(model, x - step * s, timestep)) / (2 * step)


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_the_product_is_the_closed_form_of_a_gaussian_mixture(timestep):
    model = population_model()
    x = points(model, timestep)
    s, product = hessian_score_product(model, x, timestep)
    expected = torch.einsum("nij,nj->ni", model.hessian(x, timestep), model.score(x, timestep).flatten(1))
    assert relative(s, model.score(x, timestep)) < 1e-12
    assert relative(product.flatten(1), expected) < 1e-5


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_the_product_is_the_central_difference_along_the_score(timestep):
    model = population_model()
    x = points(model, timestep)
    step = 1e-4 * model.schedule.at(timestep)[1] / float(score(model, x, timestep).abs().max())
    _, product = hessian_score_product(model, x, timestep)
    assert relative(product, central_difference(model, x, timestep, step)) < 1e-5


def test_the_product_of_a_trained_network_is_the_central_difference():
    model = golden_model(torch.float64)
    x = golden_inputs()["x"][:2].double()
    _, product = hessian_score_product(model, x, 100)
    assert relative(product, central_difference(model, x, 100, 1e-6)) < 1e-5


def test_the_product_of_a_network_with_attention_is_the_central_difference():
    model = PixelDiffusion(tiny_unet(attention=True), DDPMScheduler(), dtype=torch.float64)
    x = points(model, 200, count=2)
    _, product = hessian_score_product(model, x, 200)
    assert relative(product, central_difference(model, x, 200, 1e-6)) < 1e-5


def test_in_expectation_norms_are_traces_of_the_hessian():
    mean = torch.zeros(1, 4, dtype=torch.float64)
    covariance = torch.diag(torch.tensor([0.05, 0.2, 0.5, 1.0], dtype=torch.float64))[None]
    model = AnalyticDenoiser(GaussianMixture(mean, covariance), (1, 2, 2))
    alpha, sigma = model.schedule.at(100)
    deviation = (alpha**2 * covariance[0] + sigma**2 * torch.eye(4)).sqrt()
    x = (torch.from_numpy(np.random.default_rng(3).normal(size=(40_000, 4))) @ deviation).reshape(-1, 1, 2, 2)
    hessian = model.hessian(x[:1], 100)[0]
    s, product = hessian_score_product(model, x, 100)
    assert float(s.flatten(1).square().sum(1).mean()) == pytest.approx(-float(hessian.trace()), rel=0.02)
    expected = -float((hessian @ hessian @ hessian).trace())
    assert float(product.flatten(1).square().sum(1).mean()) == pytest.approx(expected, rel=0.02)


def test_the_product_leaves_no_gradients_behind():
    model = PixelDiffusion(tiny_unet(), DDPMScheduler())
    s, product = hessian_score_product(model, torch.zeros(1, 1, 8, 8), 100)
    assert not s.requires_grad
    assert not product.requires_grad


def test_the_mixture_under_test_is_no_single_gaussian():
    model = population_model()
    hessians = model.hessian(points(model, 50), 50)
    assert relative(hessians[0], hessians[1]) > 0.1
    assert mixture().dimension == 6
