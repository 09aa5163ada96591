"""Intrinsic dimension: 0 at a memorized image, k on a k-dimensional subspace, and the exact form in between."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import AuditError, ModelError, UsageError
from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule, PixelDiffusion
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.sharpness import ScoreHessian, flipd_curve, flipd_scores, full_spectrum
from tests.models.builders import (
    binary_images,
    memorizer,
    population_images,
    population_model,
    smooth_images,
    tiny_unet,
)

SIGMAS = (0.01, 0.03, 0.1, 0.3)


@pytest.fixture(scope="module")
def subspace():
    """Variance 1 in 3 of 8 dimensions, none in the others."""
    covariance = torch.diag(torch.tensor([1.0] * 3 + [0.0] * 5))[None]
    schedule = NoiseSchedule.from_alphas_cumprod([1.0 - sigma**2 for sigma in SIGMAS])
    return AnalyticDenoiser(GaussianMixture(torch.zeros(1, 8), covariance), (1, 2, 4), schedule=schedule)


def test_on_a_subspace_it_is_its_dimension_as_the_noise_goes(subspace):
    image = torch.full((1, 1, 2, 4), 0.5, dtype=torch.float64)
    image[..., 0, :3] += (1.343 / 3) ** 0.5 / 2  # the point that METHODS 8.3 tables, squared norm 1.343
    curve = flipd_curve(subspace, image, timesteps=range(4))
    assert curve.timesteps == (0, 1, 2, 3)
    np.testing.assert_allclose(curve.sigmas, SIGMAS)
    np.testing.assert_allclose(curve.dimensions[:, 0], [2.9998, 2.9985, 2.983, 2.840], atol=6e-4)
    exact = 3.0 - 3.0 * curve.sigmas**2 + curve.sigmas**2 * (1.0 - curve.sigmas**2) * 1.343
    np.testing.assert_allclose(curve.dimensions[:, 0], exact, rtol=1e-10)


def test_at_a_memorized_image_it_is_zero():
    images = binary_images(12, 1)
    model = memorizer(images)
    np.testing.assert_allclose(flipd_scores(model, images, timestep=20), 0.0, atol=1e-2)
    elsewhere = -flipd_scores(model, binary_images(4, 2), timestep=20)
    assert (elsewhere > 1.0).all()


def test_it_is_the_closed_form_of_the_hessian():
    model, images = population_model(), population_images(5, 1)
    alpha, sigma = model.schedule.at(30)
    x = alpha * model.encode(images)
    signs = torch.from_numpy(np.where(np.random.default_rng(2).random((3, 5, 1, 2, 3)) < 0.5, -1.0, 1.0))
    hessian, score = model.hessian(x, 30), model.score(x, 30).flatten(1)
    flat = signs.flatten(2)
    traces = torch.einsum("kni,nij,knj->kn", flat, hessian, flat).mean(0)
    expected = 6 + sigma**2 * (traces + score.square().sum(1))
    np.testing.assert_allclose(-flipd_scores(model, images, timestep=30, noise=signs), expected, rtol=1e-9)


def test_with_every_sign_vector_the_trace_is_exact():
    model, images = population_model(), population_images(2, 1)
    corners = torch.tensor(np.stack(np.meshgrid(*[[-1.0, 1.0]] * 6), -1).reshape(64, 1, 1, 2, 3))
    alpha, sigma = model.schedule.at(30)
    found = -flipd_scores(model, images, timestep=30, noise=corners.expand(-1, 2, -1, -1, -1))
    for value, image in zip(found, images, strict=True):
        x = alpha * model.encode(image[None])
        trace = full_spectrum(ScoreHessian(model, x[0], 30)).trace
        norm = float(model.score(x, 30).square().sum())
        assert value == pytest.approx(6 + sigma**2 * (trace + norm), rel=1e-9)


@pytest.mark.slow
def test_batches_change_nothing_beyond_rounding():
    model, images = PixelDiffusion(tiny_unet(), DDPMScheduler()), smooth_images(5, 3)
    together = flipd_scores(model, images, timestep=50)
    np.testing.assert_allclose(flipd_scores(model, images, timestep=50, batch_size=2), together, rtol=1e-4)
    assert np.array_equal(flipd_scores(model, images, timestep=50), together)
    assert not np.array_equal(flipd_scores(model, images, timestep=50, seed=1), together)


def test_what_cannot_be_measured_is_an_error():
    model = PixelDiffusion(tiny_unet(), DDPMScheduler())
    with pytest.raises(UsageError, match="`timesteps` must be at least one and distinct"):
        flipd_curve(model, smooth_images(1, 1), timesteps=[5, 5])
    with pytest.raises(UsageError, match="`timestep` must be between 0 and 999, got 1000"):
        flipd_scores(model, smooth_images(1, 1), timestep=1000)
    with pytest.raises(ModelError, match=r"The intrinsic dimension \(FLIPD\) needs white-box access"):
        flipd_scores(object(), smooth_images(1, 1), timestep=5)
    unet = tiny_unet()
    with torch.no_grad():
        unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(AuditError, match="not finite for 2 of 2 images"):
        flipd_scores(PixelDiffusion(unet, DDPMScheduler()), smooth_images(2, 1), timestep=5)
