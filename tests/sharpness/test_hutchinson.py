"""Traces and counts from random probes: the variances of METHODS 4.3, coverage, and exact cases."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.sharpness import hutchinson_trace, nonnegative_eigenvalues
from tests.sharpness.matrices import Matrix, random_matrix, with_eigenvalues


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_the_estimate_has_the_variance_of_the_formula(kind):
    entries = random_matrix(20, 1)
    symmetric = (entries + entries.T) / 2
    variance = 2.0 * (symmetric**2).sum()
    if kind == "rademacher":
        variance -= 2.0 * (np.diag(symmetric) ** 2).sum()
    found = hutchinson_trace(Matrix(entries), probes=40_000, seed=2, kind=kind)
    assert found.standard_error**2 * found.probes == pytest.approx(variance, rel=0.05)
    assert abs(found.value - np.trace(entries)) < 4 * found.standard_error


def test_signs_are_exact_on_a_diagonal_and_gaussians_are_not():
    matrix = Matrix(np.diag([-3.0, 1.0, 5.0]))
    signs = hutchinson_trace(matrix, probes=2, seed=0)
    assert (signs.value, signs.standard_error) == (3.0, 0.0)
    assert hutchinson_trace(matrix, probes=50, seed=0, kind="gaussian").standard_error > 0.0


def test_the_bounds_cover_the_trace_as_often_as_they_say():
    entries = random_matrix(15, 3)
    matrix, trace = Matrix(entries), np.trace(entries)
    runs = [hutchinson_trace(matrix, probes=20, seed=seed, confidence=0.9) for seed in range(600)]
    missed = np.mean([run.high < trace for run in runs]), np.mean([run.low > trace for run in runs])
    assert max(missed) < 0.14
    assert min(missed) > 0.06


def test_the_trace_of_the_cube_takes_three_products():
    entries = random_matrix(10, 4)
    matrix = Matrix(entries)
    found = hutchinson_trace(matrix, probes=20_000, seed=1, power=3)
    assert matrix.products == 60_000
    assert abs(found.value - np.trace(entries @ entries @ entries)) < 4 * found.standard_error


def test_eigenvalues_that_are_not_negative_are_counted():
    values = np.concatenate([-np.linspace(1.0, 10.0, 70), np.linspace(1.0, 5.0, 30)])
    found = nonnegative_eigenvalues(Matrix(with_eigenvalues(values, 5)), probes=60, steps=30, seed=0)
    assert found.low - 1.0 < 30.0 < found.high + 1.0
    assert abs(found.value - 30.0) < 4 * found.standard_error


def test_a_full_run_counts_without_smoothing():
    values = [-2.0, -1.0, 1.0, 3.0]
    entries = with_eigenvalues(values, 6)
    found = nonnegative_eigenvalues(Matrix(entries), probes=4000, steps=4, seed=1)
    assert abs(found.value - 2.0) < 4 * found.standard_error
    assert nonnegative_eigenvalues(Matrix(-np.eye(5)), probes=3, steps=5, seed=0).value == 0.0
    assert nonnegative_eigenvalues(Matrix(np.eye(5)), probes=3, steps=5, seed=0).value == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probes": 1}, "`probes` must be a whole number of at least 2, got 1"),
        ({"probes": 4.5}, "`probes` must be a whole number of at least 2, got 4.5"),
        ({"probes": 4, "confidence": 2}, "`confidence` must be above 0.5 and below 1, got 2"),
        ({"probes": 4, "kind": "cauchy"}, "`kind` must be 'rademacher' or 'gaussian', got 'cauchy'"),
        ({"probes": 4, "power": 0}, "`power` must be a whole number of at least 1, got 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        hutchinson_trace(Matrix(np.eye(3)), seed=0, **arguments)
