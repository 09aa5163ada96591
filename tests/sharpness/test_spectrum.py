"""Exact spectra: closed forms of mixtures, the golden Hessians, METHODS T1, and a network's finite differences."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule, PixelDiffusion
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.sharpness import ScoreHessian, full_spectrum, score
from pytest_diffprivacy.sharpness.hessian import full_matrix
from tests.models.builders import golden_inputs, golden_model, population_model, tiny_unet
from tests.sharpness.matrices import ANALYTIC, Matrix, random_matrix, with_eigenvalues

T1 = [  # eigenvalues at x = alpha mu_k: sharp mode, broad mode (METHODS T1)
    (500, (-1.06, -1.04), (-1.06, -1.05), 0.006),
    (300, (-1.46, -1.03), (-1.42, -1.35), 0.006),
    (200, (-2.45, 0.10), (-1.97, -1.93), 0.006),
    (100, (-9.4, -8.5), (-3.04, -3.04), 0.06),
    (10, (-436.0, -436.0), (-3.97, -3.97), 0.6),
    (0, (-5000.0, -5000.0), (-4.0, -4.0), 5.0),
]


@pytest.fixture(scope="module")
def sharp_and_broad():
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    covariances = torch.tensor([1e-4, 0.25])[:, None, None] * torch.eye(2)
    return AnalyticDenoiser(GaussianMixture(means, covariances, torch.tensor([0.05, 0.95])), (1, 1, 2))


def small_schedule():
    betas = np.linspace(ANALYTIC["schedule"]["beta_start"] ** 0.5, ANALYTIC["schedule"]["beta_end"] ** 0.5, 1000) ** 2
    return NoiseSchedule.from_alphas_cumprod(np.cumprod(1.0 - betas))


@pytest.mark.parametrize(("timestep", "sharp", "broad", "tolerance"), T1)
def test_a_sharp_and_a_broad_mode_have_the_tabled_eigenvalues(sharp_and_broad, timestep, sharp, broad, tolerance):
    alpha, _ = sharp_and_broad.schedule.at(timestep)
    for mean, expected, margin in ((-1.0, sharp, tolerance), (1.0, broad, 0.006)):
        point = torch.tensor([[[alpha * mean, 0.0]]], dtype=torch.float64)
        spectrum = full_spectrum(ScoreHessian(sharp_and_broad, point, timestep))
        np.testing.assert_allclose(spectrum.eigenvalues, expected, atol=margin)
        assert spectrum.asymmetry < 1e-12


@pytest.mark.parametrize("side", ["uncond", "cond"])
def test_the_spectra_of_golden_mixtures_are_reproduced(side):
    given = ANALYTIC[side]
    density = GaussianMixture(*(torch.tensor(given[key], dtype=torch.float64) for key in ("means", "covs", "weights")))
    model = AnalyticDenoiser(density, (1, 2, 2), schedule=small_schedule())
    for case in ANALYTIC["cases"]:
        point = torch.tensor(case["x"], dtype=torch.float64).reshape(1, 2, 2)
        spectrum = full_spectrum(ScoreHessian(model, point, case["t"]))
        expected = np.sort(case[f"eig_hessian_{side}"])
        np.testing.assert_allclose(spectrum.eigenvalues, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())
        assert spectrum.trace == pytest.approx(case[f"trace_hessian_{side}"], rel=1e-8)
        assert spectrum.nonnegative == int((expected >= 0).sum())


def test_products_with_a_network_are_those_of_central_differences():
    model = golden_model(torch.float64)
    x = golden_inputs()["x"][0].double()
    hessian = ScoreHessian(model, x, 200, batch_size=2)
    step, rows = 1e-6, np.eye(hessian.dimension)[[0, 17, 500]]
    offsets = step * torch.from_numpy(rows).reshape(3, *x.shape)
    with torch.no_grad():
        expected = (score(model, x + offsets, 200) - score(model, x - offsets, 200)).flatten(1) / (2 * step)
    found = hessian.times(rows)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(found).max())


def test_the_eigenvalues_are_those_of_the_symmetric_part_and_the_asymmetry_is_reported():
    entries = random_matrix(12, 1)
    spectrum = full_spectrum(Matrix(entries))
    np.testing.assert_allclose(spectrum.eigenvalues, np.linalg.eigvalsh((entries + entries.T) / 2), atol=1e-12)
    assert spectrum.asymmetry == pytest.approx(np.linalg.norm(entries - entries.T) / np.linalg.norm(entries))
    assert full_spectrum(Matrix(np.zeros((3, 3)))).asymmetry == 0.0


def test_eigenvalues_that_are_not_negative_are_counted():
    spectrum = full_spectrum(Matrix(with_eigenvalues([-3.0, -1.0, 0.5, 2.0], 1)))
    assert spectrum.nonnegative == 2
    assert spectrum.trace == pytest.approx(-1.5)


def test_forward_and_reverse_products_belong_to_one_matrix():
    model = PixelDiffusion(tiny_unet(), DDPMScheduler(), dtype=torch.float64)
    hessian = ScoreHessian(model, torch.zeros(1, 8, 8), 200)
    matrix = full_matrix(hessian)
    rows = np.random.default_rng(3).normal(size=(3, 64))
    np.testing.assert_allclose(hessian.times(rows), rows @ matrix.T, atol=1e-10)
    np.testing.assert_allclose(hessian.transpose_times(rows), rows @ matrix, atol=1e-10)
    assert np.linalg.norm(matrix - matrix.T) / np.linalg.norm(matrix) > 1e-3


def test_batches_change_nothing():
    model = PixelDiffusion(tiny_unet(), DDPMScheduler(), dtype=torch.float64)
    rows = np.random.default_rng(3).normal(size=(5, 64))
    together = ScoreHessian(model, torch.zeros(1, 8, 8), 200).times(rows)
    np.testing.assert_allclose(ScoreHessian(model, torch.zeros(1, 8, 8), 200, batch_size=2).times(rows), together)


def test_the_hessian_of_a_class_and_its_difference_to_none():
    model = PixelDiffusion(tiny_unet(classes=4), DDPMScheduler(), null_label=3, dtype=torch.float64)
    point, rows = torch.zeros(1, 8, 8), np.random.default_rng(3).normal(size=(2, 64))
    of_class = ScoreHessian(model, point, 200, prompt=1).times(rows)
    of_none = ScoreHessian(model, point, 200).times(rows)
    difference = ScoreHessian(model, point, 200, prompt=1, minus_unconditional=True).times(rows)
    np.testing.assert_allclose(difference, of_class - of_none, atol=1e-12)
    assert np.abs(difference).max() > 1e-6


def test_a_nan_derivative_is_an_error():
    unet = tiny_unet()
    with torch.no_grad():
        unet.conv_out.weight.fill_(torch.nan)
    with pytest.raises(AuditError, match="derivative of the model's output is not finite"):
        full_spectrum(ScoreHessian(PixelDiffusion(unet, DDPMScheduler()), torch.zeros(1, 8, 8), 100))


def test_arguments_that_make_no_sense_are_refused():
    model = population_model()
    with pytest.raises(UsageError, match=r"`x_t` must be one point of shape \(1, 2, 3\), got \(2, 1, 2, 3\)"):
        ScoreHessian(model, torch.zeros(2, 1, 2, 3), 100)
    with pytest.raises(UsageError, match="`prompt` must be given"):
        ScoreHessian(model, torch.zeros(1, 2, 3), 100, minus_unconditional=True)
    with pytest.raises(UsageError, match="`batch_size` must be at least 1"):
        ScoreHessian(model, torch.zeros(1, 2, 3), 100, batch_size=0)

    class Vast(Matrix):
        dimension = 5000

    with pytest.raises(UsageError, match="at most 4096 to be written out, got 5000"):
        full_spectrum(Vast(np.eye(2)))
