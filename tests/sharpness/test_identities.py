"""METHODS 8.3: norms of scores and products equal traces in expectation, exactly, by quadrature in float64."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.sharpness import ScoreHessian, full_spectrum, hessian_score_product, score
from tests.sharpness.matrices import ANALYTIC, gauss_hermite, gaussian_at


def squared(vectors, weights):
    return float((weights * vectors.flatten(1).square().sum(1)).sum())


@pytest.mark.parametrize("case", ANALYTIC["single_gaussian"], ids=lambda case: f"{len(case['mean'])}-d")
def test_of_one_gaussian_both_norms_are_traces(case):
    model = gaussian_at(case["mean"], case["cov"])
    points, weights = gauss_hermite(case["mean"], case["cov"])
    s, product = hessian_score_product(model, points, 0)
    assert squared(s, weights) == pytest.approx(case["E_norm_sq_score"], rel=1e-8)
    assert squared(product, weights) == pytest.approx(case["E_norm_sq_Hs"], rel=1e-8)
    spectrum = full_spectrum(ScoreHessian(model, points[0], 0))
    assert squared(s, weights) == pytest.approx(-spectrum.trace, rel=1e-8)
    assert squared(product, weights) == pytest.approx(-float((spectrum.eigenvalues**3).sum()), rel=1e-8)


@pytest.mark.parametrize("case", ANALYTIC["lemma_4_2"], ids=lambda case: case["kind"])
def test_of_two_gaussians_the_differences_are_those_of_the_lemma(case):
    without = gaussian_at(case["mean_uncond"], case["cov_uncond"])
    prompted = gaussian_at(case["mean_cond"], case["cov_cond"])
    points, weights = gauss_hermite(case["mean_cond"], case["cov_cond"])
    s_delta = score(prompted, points, 0) - score(without, points, 0)
    assert squared(s_delta, weights) == pytest.approx(case["E_cond_norm_sq_s_delta"], rel=1e-8)
    products = [model.eps_jvp(points, 0, s_delta)[1] / -model.schedule.at(0)[1] for model in (prompted, without)]
    expected = case["E_cond_norm_sq_Hdelta_sdelta"]
    assert squared(products[0] - products[1], weights) == pytest.approx(expected, rel=1e-8)


COMMUTING = [case for case in ANALYTIC["lemma_4_2"] if case["kind"] == "commuting_equal_means"]


@pytest.mark.parametrize("case", COMMUTING, ids=["first", "second"])
def test_the_lemma_in_eigenvalues_holds_with_the_absolute_value(case):
    origin = torch.zeros(1, 1, 3)
    for side in ("uncond", "cond"):
        model = gaussian_at(case[f"mean_{side}"], case[f"cov_{side}"])
        found = full_spectrum(ScoreHessian(model, origin, 0)).eigenvalues
        np.testing.assert_allclose(found, np.sort(case[f"eig_hessian_{side}"]), rtol=1e-8)
    without, prompted = np.asarray(case["eig_hessian_uncond"]), np.asarray(case["eig_hessian_cond"])
    sums = [((without - prompted) ** power / np.abs(prompted)).sum() for power in (2, 4)]
    assert sums == pytest.approx([case["E_cond_norm_sq_s_delta"], case["E_cond_norm_sq_Hdelta_sdelta"]], rel=1e-8)
    assert ((without - prompted) ** 2 / prompted).sum() == pytest.approx(case["printed_in_paper_value"], rel=1e-8)
