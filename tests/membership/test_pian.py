"""PIAN: the formula with both constants, and what it does where it is undefined."""

import math

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership.pian import MEAN_SIZES, pian, pian_scores
from tests.membership.grey_box import evaluations
from tests.models.builders import memorizer, population_model, smooth_images

IMAGES = smooth_images(7, 3)[:, :, :2, :3]


def one_by_one(model, images, t, p, constant):
    """The naive twin: an image at a time, in the order of the paper's text."""
    scores = []
    for image in images:
        x0 = model.encode(image[None])
        e0 = model.predict_eps(x0, 0)
        e0 = constant * e0 / float(e0.abs().mean())
        alpha, sigma = model.schedule.at(t)
        again = model.predict_eps(alpha * x0 + sigma * e0, t)
        scores.append(-sum(abs(float(a) - float(b)) ** p for a, b in zip(e0.flatten(), again.flatten(), strict=True)))
    return np.array(scores)


@pytest.mark.parametrize(
    ("normalization", "constant"), [("code", (2 / math.pi) ** 0.5), ("paper", (math.pi / 2) ** 0.5)]
)
@pytest.mark.parametrize("p", [4, 2])
def test_the_score_is_the_papers_with_either_constant(normalization, constant, p):
    model = population_model()
    ours = pian_scores(model, IMAGES, timestep=150, p=p, normalization=normalization)
    np.testing.assert_allclose(ours, one_by_one(model, IMAGES, 150, p, constant), rtol=1e-9)


def test_the_shipped_constant_is_the_mean_size_of_gaussian_noise_and_the_printed_one_is_not():
    sample = np.abs(np.random.default_rng(7).normal(size=400_000)).mean()
    assert MEAN_SIZES["code"] == pytest.approx(sample, abs=0.004)
    assert MEAN_SIZES["paper"] == pytest.approx(1.2533, abs=1e-4)
    assert pian.defaults["normalization"] == "code"


def test_a_batch_scores_as_its_images_do_alone():
    model = population_model()
    np.testing.assert_allclose(pian_scores(model, IMAGES), pian_scores(model, IMAGES, batch_size=1), rtol=1e-9)


def test_an_image_costs_the_evaluations_that_the_record_names():
    assert evaluations(population_model(), pian_scores, IMAGES) == pian.evaluations(pian.defaults) == 2


def test_a_noise_guess_of_zero_cannot_be_normalized():
    grey = torch.full((1, 1, 8, 8), 0.5)
    with pytest.raises(AuditError, match=r"PIAN: the model predicts no noise at all for a clean image\. Use another"):
        pian_scores(memorizer(grey), grey)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"p": 0}, "`p` must be positive, got 0"),
        ({"p": math.nan}, "`p` must be positive, got nan"),
        ({"normalization": "half"}, "`normalization` must be one of code, paper, got 'half'"),
        ({"timestep": 1000}, "between 0 and 999, got 1000"),
        ({"prompts": ["a cat"]}, "one prompt for each of the 7 images, got 1"),
    ],
)
def test_a_bad_argument_is_named(parameters, message):
    with pytest.raises(UsageError, match=message):
        pian_scores(population_model(), IMAGES, **parameters)
