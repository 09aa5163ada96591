"""Arnoldi and Lanczos: eigenvalues where the space is full, bounds that hold where it is not, and breakdown."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.sharpness import ScoreHessian, arnoldi, lanczos
from pytest_diffprivacy.sharpness.hessian import full_matrix
from tests.models.builders import tiny_unet
from tests.sharpness.matrices import Matrix, random_matrix, with_eigenvalues


@pytest.fixture(scope="module")
def network_hessian():
    return ScoreHessian(PixelDiffusion(tiny_unet(), DDPMScheduler(), dtype=torch.float64), torch.zeros(1, 8, 8), 200)


def test_arnoldi_in_the_full_space_has_every_eigenvalue_of_an_unsymmetric_matrix():
    entries = random_matrix(20, 2)
    found = arnoldi(Matrix(entries), steps=20, seed=0)
    expected = np.linalg.eigvals(entries)
    distances = np.abs(found.values[:, None] - expected[None]).min(1)
    assert distances.max() < 1e-9
    assert np.abs(expected.imag).max() > 0.1
    assert found.residuals.max() < 1e-9


def test_lanczos_in_the_full_space_has_every_eigenvalue_of_the_symmetric_part():
    entries = random_matrix(20, 2)
    found = lanczos(Matrix(entries), steps=20, seed=0)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh((entries + entries.T) / 2), atol=1e-10)


def test_the_bound_of_a_ritz_value_holds():
    entries = random_matrix(60, 3, symmetric=True)
    exact = np.linalg.eigvalsh(entries)
    for found, values, reach in (
        (run, run.values.real, reach)
        for run, reach in (
            (found, found.bounds) for found in (lanczos(Matrix(entries), steps=m, seed=1) for m in (5, 15, 40))
        )
    ):
        nearest = np.abs(values[:, None] - exact[None]).min(1)
        assert (nearest <= reach + 1e-9).all()
        assert found.steps == len(values)


def test_the_residual_of_an_arnoldi_pair_is_its_own():
    entries = random_matrix(30, 4)
    found = arnoldi(Matrix(entries), steps=8, seed=5)
    smallest = [np.linalg.svd(entries - value * np.eye(30), compute_uv=False)[-1] for value in found.values]
    assert (np.asarray(smallest) <= found.residuals + 1e-9).all()


def test_extreme_eigenvalues_converge_first():
    values = np.concatenate([[-1000.0, -500.0], -np.linspace(1.0, 2.0, 98)])
    matrix = Matrix(with_eigenvalues(values, 6))
    found = lanczos(matrix, steps=8, seed=0)
    np.testing.assert_allclose(found.values[:2], [-1000.0, -500.0], rtol=1e-8)
    assert found.bounds[0] < 1e-6 < found.bounds[3]
    assert matrix.products == 8
    np.testing.assert_allclose(arnoldi(matrix, steps=8, seed=0).values[:2].real, [-1000.0, -500.0], rtol=1e-8)


def test_orthogonality_is_not_lost_over_many_steps():
    values = np.concatenate([[-1e6], -np.linspace(1.0, 50.0, 79)])
    found = lanczos(Matrix(with_eigenvalues(values, 7)), steps=80, seed=0)
    np.testing.assert_allclose(found.values, np.sort(values), rtol=1e-6)  # no ghost copies of the largest
    assert found.weights.sum() == pytest.approx(1.0)


def test_a_space_that_closes_early_gives_eigenvalues_and_the_same_type():
    matrix = Matrix(with_eigenvalues([-4.0] * 5 + [-1.0] * 5 + [2.0] * 5, 8))
    for found in (arnoldi(matrix, steps=10, seed=1), lanczos(matrix, steps=10, seed=1)):
        assert found.breakdown
        assert found.steps == 3
        np.testing.assert_allclose(found.values, [-4.0, -1.0, 2.0], atol=1e-9)
    whole = lanczos(Matrix(np.zeros((4, 4))), steps=4, seed=0)
    assert whole.breakdown
    assert whole.values.tolist() == [0.0]
    assert not lanczos(Matrix(random_matrix(6, 1)), steps=3, seed=0).breakdown


def test_a_seed_gives_the_same_run():
    matrix = Matrix(random_matrix(10, 9))
    assert np.array_equal(arnoldi(matrix, steps=4, seed=3).values, arnoldi(matrix, steps=4, seed=3).values)
    assert not np.array_equal(arnoldi(matrix, steps=4, seed=3).values, arnoldi(matrix, steps=4, seed=4).values)


@pytest.mark.slow
def test_a_network_s_extreme_curvatures_are_found_without_its_matrix(network_hessian):
    matrix = full_matrix(network_hessian)
    exact = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    found = lanczos(network_hessian, steps=16, seed=0)
    for value, bound in zip(found.values[[0, -1]], found.bounds[[0, -1]], strict=True):
        assert np.abs(exact - value).min() <= bound + 1e-9
        assert bound < 0.02 * np.abs(exact).max()
    general = arnoldi(network_hessian, steps=16, seed=0)
    eigenvalues = np.linalg.eigvals(matrix)
    assert np.abs(eigenvalues - general.values[0]).min() < 0.02 * np.abs(eigenvalues).max()


@pytest.mark.parametrize("method", [arnoldi, lanczos])
@pytest.mark.parametrize("steps", [0, 5])
def test_steps_must_fit_the_dimension(method, steps):
    with pytest.raises(UsageError, match=f"`steps` must be between 1 and the dimension 4, got {steps}"):
        method(Matrix(np.eye(4)), steps=steps, seed=0)
