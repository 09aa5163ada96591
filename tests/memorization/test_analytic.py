"""On models with exact answers: the independent reference's closed forms, and the identities in expectation."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.memorization.hessian_score import hessian_score_difference
from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule
from pytest_diffprivacy.models.analytic import AnalyticPrompts
from pytest_diffprivacy.models.ddim import predict_pair
from pytest_diffprivacy.models.densities import GaussianMixture
from tests.models.text_builders import analytic_model, analytic_values

CASES = analytic_values()["cases"]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize(("derivative", "tolerance"), [("forward", 1e-8), ("central", 1e-5)])
def test_score_difference_and_its_hessian_product_are_the_closed_forms(case, derivative, tolerance):
    given = CASES[case]
    model = analytic_model(given)
    x, told = torch.tensor(given["x"], dtype=torch.float64).reshape(1, 1, 1, 4), model.condition(["cond"], 1)
    eps_u, eps_c = predict_pair(model, x, given["t"], told, None)
    s_delta = -(eps_c - eps_u) / model.schedule.at(given["t"])[1]
    np.testing.assert_allclose(s_delta.flatten(), given["s_delta"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(float((eps_c - eps_u).norm()), given["norm_eps_delta"], rtol=1e-8)
    product = hessian_score_difference(model, x, given["t"], told, s_delta, derivative=derivative)
    scale = given["norm_H_delta_s_delta"]
    np.testing.assert_allclose(product.flatten(), given["H_delta_s_delta"], rtol=0, atol=tolerance * scale)


def detected(name, model, x, **parameters):
    """Scores of single images at the model's first step, one prompt for each."""
    entry = DETECTORS[name](**parameters)
    texts = ["cond"] * len(x)
    return entry.scores(
        watch_prompts(model, texts, {name: entry}, PromptSampling(1, len(model.schedule)), latents=x[:, None])[name]
    )


@pytest.mark.parametrize("case", [0, len(CASES) // 2, -1])
def test_the_detectors_of_the_first_step_are_the_closed_forms(case):
    """The schedule is cut behind the case's timestep, so that it is the first one of the walk."""
    given = CASES[case]
    model = analytic_model(given, given["t"] + 1)
    x = torch.tensor(given["x"], dtype=torch.float64).reshape(1, 1, 1, 4)
    np.testing.assert_allclose(detected("score_difference", model, x), given["norm_eps_delta"], rtol=1e-8)
    np.testing.assert_allclose(detected("score_difference", model, x, form="score"), given["norm_s_delta"], rtol=1e-8)
    forward = {"derivative": "forward"}
    norm = given["norm_H_delta_s_delta"]
    np.testing.assert_allclose(detected("hessian_score", model, x, **forward), norm, rtol=1e-8)
    squared = given["norm_sq_H_delta_s_delta"]
    np.testing.assert_allclose(detected("hessian_score", model, x, squared=True, **forward), squared, rtol=1e-8)


@pytest.mark.parametrize("lemma", range(len(analytic_values()["lemma_4_2"])))
def test_the_expectations_of_two_gaussians_are_the_lemmas(lemma):
    """Lemma 4.2 with its sign corrected, by an exact cubature: both norms are quadratic in x, so 2d points suffice."""
    given = analytic_values()["lemma_4_2"][lemma]
    mean_c, cov_c = (torch.tensor(given[f"{key}_cond"], dtype=torch.float64) for key in ("mean", "cov"))
    dimension = len(mean_c)
    nearly_clean = NoiseSchedule(np.array([1.0, 0.999999]), np.array([1e-9, 2e-9]))

    def gaussian(mean, cov):
        mixture = GaussianMixture(*(torch.tensor([given[key]], dtype=torch.float64) for key in (mean, cov)))
        return AnalyticDenoiser(mixture, (1, 1, dimension), schedule=nearly_clean)

    model = AnalyticPrompts(gaussian("mean_uncond", "cov_uncond"), {"cond": gaussian("mean_cond", "cov_cond")})
    root = torch.linalg.cholesky(cov_c) * dimension**0.5
    x = torch.cat([mean_c + root.T, mean_c - root.T]).reshape(-1, 1, 1, dimension)
    told = model.condition(["cond"] * len(x), len(x))
    eps_u, eps_c = predict_pair(model, x, 0, told, None)
    s_delta = -(eps_c - eps_u) / nearly_clean.at(0)[1]
    product = hessian_score_difference(model, x, 0, told, s_delta, derivative="forward")
    measured = [float(t.flatten(1).square().sum(1).mean()) for t in (s_delta, product)]
    expected = [given["E_cond_norm_sq_s_delta"], given["E_cond_norm_sq_Hdelta_sdelta"]]
    np.testing.assert_allclose(measured, expected, rtol=1e-8)
