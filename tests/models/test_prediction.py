"""Conversions between what networks predict: exact round trips, and the identities of the v form."""

import math

import pytest
import torch

from pytest_diffprivacy.models.prediction import PredictionType, eps_from, prediction_from_eps, x0_from_eps


def noised(alpha, sigma):
    generator = torch.Generator().manual_seed(3)
    x0, eps = torch.randn(2, 4, 1, 3, 3, generator=generator, dtype=torch.float64)
    return x0, eps, alpha * x0 + sigma * eps


def vp(angle):
    return math.cos(angle), math.sin(angle)


VP_POINTS = [vp(0.01), vp(0.4), vp(1.5)]
FLOW_POINTS = [(0.99, 0.01), (0.5, 0.5), (0.02, 0.98)]
CASES = [(kind, point) for kind in (PredictionType.EPS, PredictionType.X0, PredictionType.V) for point in VP_POINTS] + [
    (kind, point) for kind in (PredictionType.EPS, PredictionType.X0, PredictionType.FLOW) for point in FLOW_POINTS
]


@pytest.mark.parametrize(("kind", "point"), CASES)
def test_every_prediction_gives_back_the_noise_it_was_made_of(kind, point):
    _, eps, x_t = noised(*point)
    prediction = prediction_from_eps(eps, x_t, *point, kind)
    torch.testing.assert_close(eps_from(prediction, x_t, *point, kind), eps, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kind", "point"), CASES)
def test_every_noise_gives_back_the_prediction_it_was_made_of(kind, point):
    _, prediction, x_t = noised(*point)
    eps = eps_from(prediction, x_t, *point, kind)
    torch.testing.assert_close(prediction_from_eps(eps, x_t, *point, kind), prediction, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("point", VP_POINTS + FLOW_POINTS)
def test_the_noise_determines_the_clean_image(point):
    x0, eps, x_t = noised(*point)
    torch.testing.assert_close(x0_from_eps(eps, x_t, *point), x0, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("point", VP_POINTS)
def test_v_is_alpha_eps_minus_sigma_x0(point):
    alpha, sigma = point
    x0, eps, x_t = noised(alpha, sigma)
    v = alpha * eps - sigma * x0
    torch.testing.assert_close(prediction_from_eps(eps, x_t, alpha, sigma, PredictionType.V), v)
    torch.testing.assert_close(eps_from(v, x_t, alpha, sigma, PredictionType.V), eps)
    torch.testing.assert_close(alpha * x_t - sigma * v, x0)


@pytest.mark.parametrize("point", VP_POINTS)
def test_the_score_of_a_v_model_is_minus_x_minus_alpha_over_sigma_v(point):
    alpha, sigma = point
    x0, eps, x_t = noised(alpha, sigma)
    v = alpha * eps - sigma * x0
    score = -eps_from(v, x_t, alpha, sigma, PredictionType.V) / sigma
    torch.testing.assert_close(score, -x_t - alpha / sigma * v)


@pytest.mark.parametrize("point", FLOW_POINTS)
def test_the_flow_velocity_is_eps_minus_x0(point):
    x0, eps, x_t = noised(*point)
    torch.testing.assert_close(eps_from(eps - x0, x_t, *point, PredictionType.FLOW), eps)
