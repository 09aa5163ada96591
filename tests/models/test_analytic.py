"""Models with exact answers: their scores and Hessians are those of their densities, and perfect memory is perfect."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.membership import loss_scores, pia_scores, secmi_scores
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.models.densities import FiniteData, GaussianMixture
from tests.models.builders import binary_images, memorizer, mixture, population_model, smooth_images

POINTS = [(0.9999, 0.01), (0.95, 0.3), (0.5, 0.87), (0.05, 0.999)]


def mixture_log_density(density, x, alpha, sigma):
    """The naive twin: a torch distribution, which knows nothing of our formulas."""
    parts = density.tensors()
    eye = torch.eye(density.dimension, dtype=torch.float64)
    components = torch.distributions.MultivariateNormal(
        alpha * parts["means"], alpha**2 * parts["covariances"] + sigma**2 * eye
    )
    weights = torch.distributions.Categorical(logits=parts["log_weights"])
    return torch.distributions.MixtureSameFamily(weights, components).log_prob(x)


def finite_log_density(density, x, alpha, sigma):
    points, log_counts = density.tensors()["points"], density.tensors()["log_counts"]
    squared = ((x[None] if x.ndim == 1 else x[:, None]) - alpha * points).square().sum(-1)
    return torch.logsumexp(log_counts - squared / (2 * sigma**2), -1)


def finite_data():
    points = torch.from_numpy(np.random.default_rng(11).normal(0.0, 0.5, (5, 4)))
    return FiniteData(points, torch.tensor([1, 4, 1, 2, 1]))


DENSITIES = {
    "Gaussian mixture": (mixture(4), mixture_log_density),
    "finite data": (finite_data(), finite_log_density),
}
densities = pytest.mark.parametrize(("density", "log_density"), DENSITIES.values(), ids=DENSITIES)
points = pytest.mark.parametrize("point", POINTS, ids=str)


def places(density, alpha, sigma, count=6):
    rng = np.random.default_rng(23)
    centres = density.tensors()["means" if "means" in density.tensors() else "points"]
    chosen = centres[rng.integers(0, len(centres), count)]
    return alpha * chosen + sigma * torch.from_numpy(rng.normal(size=tuple(chosen.shape)))


@densities
@points
def test_the_score_is_the_gradient_of_the_log_density(density, log_density, point):
    x = places(density, *point).requires_grad_()
    (gradient,) = torch.autograd.grad(log_density(density, x, *point).sum(), x)
    torch.testing.assert_close(density.score(x.detach(), *point), gradient, rtol=1e-8, atol=1e-8)


@densities
@points
def test_the_hessian_is_the_second_derivative_of_the_log_density(density, log_density, point):
    x = places(density, *point, count=3)
    expected = torch.stack(
        [torch.autograd.functional.hessian(lambda v: log_density(density, v, *point).sum(), row) for row in x]
    )
    ours = density.hessian(x, *point)
    assert ((ours - expected).norm() / expected.norm()) < 1e-9


@densities
@points
def test_the_hessian_is_the_central_difference_of_the_score(density, log_density, point):
    x = places(density, *point, count=3)
    step = 1e-4 * point[1]
    columns = []
    for unit in torch.eye(density.dimension, dtype=torch.float64) * step:
        columns.append((density.score(x + unit, *point) - density.score(x - unit, *point)) / (2 * step))
    expected = torch.stack(columns, dim=2)
    assert ((density.hessian(x, *point) - expected).norm() / expected.norm()) < 1e-6


def test_the_noise_prediction_is_minus_sigma_times_the_score():
    model = population_model()
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(3, 1, 2, 3)))
    sigma = model.schedule.at(100)[1]
    torch.testing.assert_close(model.predict_eps(x, 100), -sigma * model.score(x, 100), rtol=0, atol=0)


def test_finite_data_is_a_mixture_of_points():
    cloud = finite_data()
    parts = cloud.tensors()
    spread = torch.zeros(5, 4, 4, dtype=torch.float64)
    points_as_mixture = GaussianMixture(parts["points"], spread, parts["log_counts"].exp())
    x = places(cloud, 0.8, 0.6)
    torch.testing.assert_close(cloud.score(x, 0.8, 0.6), points_as_mixture.score(x, 0.8, 0.6))
    torch.testing.assert_close(cloud.hessian(x, 0.8, 0.6), points_as_mixture.hessian(x, 0.8, 0.6))


@pytest.mark.parametrize("timestep", [10, 50, 100])
def test_an_ideal_denoiser_sees_a_known_multiple_of_a_training_image_as_noise(timestep):
    images = binary_images(12, 1)
    model = memorizer(images)
    x0 = model.encode(images)
    alpha, sigma = model.schedule.at(timestep)
    torch.testing.assert_close(model.predict_eps(x0, timestep), (1 - alpha) / sigma * x0, rtol=1e-9, atol=1e-9)


def test_an_ideal_denoiser_leaves_no_loss_on_its_training_images():
    images = binary_images(12, 1)
    assert np.abs(loss_scores(memorizer(images), images, timesteps=[50, 100], draws=3)).max() < 1e-9


def test_an_ideal_denoiser_has_no_secmi_error_on_its_training_images():
    images = binary_images(12, 1)
    assert np.abs(secmi_scores(memorizer(images), images)).max() < 1e-9


def test_an_ideal_denoiser_has_no_pia_error_on_its_training_images():
    images = binary_images(12, 1)
    assert np.abs(pia_scores(memorizer(images), images, timestep=100)).max() < 1e-9


def test_the_hessian_at_a_training_image_is_that_of_one_point():
    images = binary_images(12, 1)
    model = memorizer(images)
    alpha, sigma = model.schedule.at(100)
    expected = -torch.eye(64, dtype=torch.float64) / sigma**2
    torch.testing.assert_close(model.hessian(alpha * model.encode(images[:1]), 100)[0], expected, rtol=1e-9, atol=1e-9)


def test_samples_of_an_ideal_denoiser_are_training_images():
    images = smooth_images(20, 4)
    samples = memorizer(images).generate(range(40), steps=50)
    nearest = torch.cdist(samples.flatten(1), images.double().flatten(1)).min(1)
    assert nearest.values.max() < 1e-6
    assert len(nearest.indices.unique()) > 5


def test_a_repeated_image_has_its_share_of_the_samples():
    images = smooth_images(16, 6, side=4)
    repetitions = torch.tensor([15] + [1] * 15)
    samples = memorizer(images, repetitions).generate(range(500), steps=50)
    nearest = torch.cdist(samples.flatten(1), images.double().flatten(1)).argmin(1)
    share = float((nearest == 0).double().mean())
    assert share == pytest.approx(15 / 30, abs=0.07)  # three standard errors of 500 samples


def test_the_same_model_has_the_same_digest_and_another_another():
    images = smooth_images(3, 1)
    digests = [
        memorizer(images).identity.digest,
        memorizer(images).identity.digest,
        memorizer(images, torch.tensor([1, 1, 2])).identity.digest,
        memorizer(smooth_images(3, 2)).identity.digest,
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_an_analytic_model_takes_no_prompts():
    with pytest.raises(ModelError, match=r"population is unconditional, but 2 prompts were given. Leave prompts out"):
        population_model().generate([1, 2], prompts=["a cat", "a dog"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnalyticDenoiser(mixture(6), (1, 2, 2)), r"`image_shape` must hold 6 pixels, got \(1, 2, 2\)"),
        (lambda: ideal_denoiser(torch.zeros(3, 4)), r"`images` must be \(n, c, h, w\), got \(3, 4\)"),
        (lambda: FiniteData(torch.zeros(0, 4)), "n >= 1"),
        (lambda: FiniteData(torch.zeros(2, 4), torch.tensor([1, 0])), "2 positive numbers"),
        (lambda: GaussianMixture(torch.zeros(2, 4), torch.zeros(2, 4)), r"`covariances` \(k, d, d\)"),
        (lambda: GaussianMixture(torch.zeros(1, 2), torch.eye(2)[None], torch.zeros(1)), "1 positive numbers"),
    ],
)
def test_a_density_that_is_none_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
