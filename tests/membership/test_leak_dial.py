"""The leak dial: attacks find the leak that was set, no more and no less (METHODS 8.4)."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.loss import loss_scores
from pytest_diffprivacy.membership.pia import pia_scores
from pytest_diffprivacy.membership.pian import pian_scores
from pytest_diffprivacy.membership.secmi import secmi_scores
from pytest_diffprivacy.membership.sima import sima_scores
from pytest_diffprivacy.models import AnalyticDenoiser
from pytest_diffprivacy.models.densities import FiniteData, GaussianMixture, LeakDial
from pytest_diffprivacy.statistics import auroc
from tests.membership.grey_box import GreyBox

SHAPE, SIDE, SEEDS = (2, 4, 4), 200, range(5)
ATTACKS = {"loss": loss_scores, "secmi": secmi_scores, "sima": sima_scores, "pia": pia_scores, "pian": pian_scores}
# METHODS 8.4: AUROC, mean of five seeds, rounded to two decimals (SecMI's last: three).
TABLE = {
    0: {"loss": 0.49, "secmi": 0.50, "sima": 0.50, "pia": 0.50, "pian": 0.50},
    0.02: {"loss": 0.61, "secmi": 0.57, "sima": 0.57, "pia": 0.13, "pian": 1.00},
    0.1: {"loss": 0.95, "secmi": 0.84, "sima": 0.84, "pia": 1.00, "pian": 1.00},
    1: {"loss": 1.00, "secmi": 0.995, "sima": 1.00, "pia": 1.00, "pian": 1.00},
}
ROUNDING = 0.005


def leaking(seed, leak):
    """A model with this leak, and all images, members first.

    x0 ~ N(0, 0.25 I) leaves [-1, 1] in one pixel of 22, and attacks take images in [0, 1] only. So the model holds
    x0 = reach * (2 * image - 1), as if it had an encoder: the attacks see the very points of the experiment.
    """
    points = torch.from_numpy(np.random.default_rng(seed).normal(0.0, 0.5, (2 * SIDE, *SHAPE)))
    reach = float(points.abs().max())
    population = GaussianMixture(torch.zeros(1, 32), 0.25 * torch.eye(32)[None])
    density = LeakDial(FiniteData(points[:SIDE].flatten(1)), population, leak)
    return GreyBox(AnalyticDenoiser(density, SHAPE), reach), (points / reach + 1) / 2


@lru_cache(maxsize=1)
def measured():
    """AUROC and its variance of each leak, seed and attack."""
    found = {}
    for leak in TABLE:
        for seed in SEEDS:
            model, images = leaking(seed, leak)
            for name, scores in ATTACKS.items():
                values = scores(model, images)
                found[leak, seed, name] = auroc(values[:SIDE], values[SIDE:])
    return found


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("leak", TABLE)
@pytest.mark.slow
def test_the_dial_reproduces_its_table_within_three_standard_errors(leak, name):
    results = [measured()[leak, seed, name] for seed in SEEDS]
    error = np.sqrt(np.mean([r.variance for r in results]) / len(results))
    assert np.mean([r.value for r in results]) == pytest.approx(TABLE[leak][name], abs=3 * error + ROUNDING)


@pytest.mark.parametrize("name", ["loss", "secmi", "sima"])
def test_more_leak_is_found_more_often(name):
    means = [np.mean([measured()[leak, seed, name].value for seed in SEEDS]) for leak in TABLE]
    assert means == sorted(means)


@pytest.mark.parametrize("name", ["loss", "secmi", "sima", "pia"])
def test_an_ideal_denoiser_gives_its_members_away(name):
    assert np.mean([measured()[1, seed, name].value for seed in SEEDS]) > 0.99


def parts():
    rng = np.random.default_rng(3)
    finite = FiniteData(torch.from_numpy(rng.normal(0.0, 0.5, (4, 3))))
    roots = torch.from_numpy(rng.normal(0.0, 0.4, (2, 3, 3)))
    mixture = GaussianMixture(torch.from_numpy(rng.normal(0.0, 0.5, (2, 3))), roots @ roots.mT + 0.1 * torch.eye(3))
    return finite, mixture, torch.from_numpy(rng.normal(size=(5, 3)))


def test_the_ends_of_the_dial_are_the_two_densities():
    finite, mixture, x = parts()
    for leak, density in ((0.0, mixture), (1.0, finite)):
        dial = LeakDial(finite, mixture, leak)
        torch.testing.assert_close(dial.score(x, 0.8, 0.6), density.score(x, 0.8, 0.6))
        torch.testing.assert_close(dial.hessian(x, 0.8, 0.6), density.hessian(x, 0.8, 0.6))


def test_the_noise_prediction_is_the_mixture_of_both_noise_predictions():
    finite, mixture, x = parts()
    eps = [AnalyticDenoiser(d, (1, 1, 3)).predict_eps(x[:, None, None], 100) for d in (finite, mixture)]
    dial = AnalyticDenoiser(LeakDial(finite, mixture, 0.3), (1, 1, 3))
    torch.testing.assert_close(dial.predict_eps(x[:, None, None], 100), 0.3 * eps[0] + 0.7 * eps[1])


def test_the_hessian_is_the_jacobian_of_the_score():
    finite, mixture, x = parts()
    dial = LeakDial(finite, mixture, 0.3)
    for row, hessian in zip(x, dial.hessian(x, 0.8, 0.6), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: dial.score(v[None], 0.8, 0.6)[0], row)
        torch.testing.assert_close(hessian, jacobian)


def test_models_with_another_leak_have_another_digest():
    finite, mixture, _ = parts()
    digests = {AnalyticDenoiser(LeakDial(finite, mixture, k), (1, 1, 3)).identity.digest for k in (0.1, 0.1, 0.2)}
    assert len(digests) == 2


@pytest.mark.parametrize("leak", [-0.1, 1.1, float("nan")])
def test_a_leak_outside_0_and_1_is_refused(leak):
    finite, mixture, _ = parts()
    with pytest.raises(UsageError, match=f"`leak` must be between 0 and 1, got {leak}"):
        LeakDial(finite, mixture, leak)


def test_densities_of_two_dimensions_are_refused():
    finite, _, _ = parts()
    with pytest.raises(UsageError, match="`population` must have the members' dimension 3, got 2"):
        LeakDial(finite, GaussianMixture(torch.zeros(1, 2), torch.eye(2)[None]), 0.5)
