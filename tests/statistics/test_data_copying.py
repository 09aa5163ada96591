"""Meehan's C_T: the naive pair count, the normal law without copying, and the right sign with it."""

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import data_copying


def naive(generated, test):
    """Every pair, ties one half."""
    m, n = len(generated), len(test)
    u = sum((g > t) + 0.5 * (g == t) for g in generated for t in test)
    return (u - m * n / 2) / (m * n * (m + n + 1) / 12) ** 0.5


def one_cell(generated, test):
    return data_copying(
        generated, np.zeros(len(generated), int), test, np.zeros(len(test), int), cells=1, min_share=0.0
    )


def test_z_is_the_naive_count_of_pairs_with_ties():
    rng = np.random.default_rng(1)
    generated, test = rng.integers(0, 9, 30).astype(float), rng.integers(0, 9, 20).astype(float)
    assert one_cell(generated, test).c_t == pytest.approx(naive(generated, test), rel=1e-12)


def test_z_is_scipys_mann_whitney_without_continuity():
    rng = np.random.default_rng(2)
    generated, test = rng.normal(size=50), rng.normal(0.3, size=40)
    p = stats.mannwhitneyu(generated, test, alternative="less", use_continuity=False, method="asymptotic").pvalue
    assert one_cell(generated, test).p_value == pytest.approx(p, rel=1e-9)


def test_cells_are_weighted_by_their_test_images():
    rng = np.random.default_rng(3)
    generated, test = rng.random(60), rng.random(40)
    own, other = np.repeat([0, 1, 2], 20), np.repeat([0, 1], [30, 10])
    found = data_copying(generated, own, test, other, cells=4, min_share=0.1)
    z = [naive(generated[own == c], test[other == c]) for c in (0, 1)]
    assert found.weights == (0.75, 0.25)
    assert found.z == pytest.approx(z)
    assert found.c_t == pytest.approx(0.75 * z[0] + 0.25 * z[1])
    assert found.p_value == pytest.approx(stats.norm.cdf(found.c_t / np.hypot(0.75, 0.25)))
    assert found.skipped == 2
    assert found.value == -found.c_t


def test_without_copying_z_is_standard_normal_and_the_p_value_uniform():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(400):
        cells = rng.integers(0, 3, 200)
        found.append(data_copying(rng.random(200), cells, rng.random(150), cells[:150], cells=3, min_share=0.02))
    z = np.concatenate([f.z for f in found])
    assert z.mean() == pytest.approx(0.0, abs=0.1)
    assert z.std() == pytest.approx(1.0, abs=0.08)
    p = np.array([f.p_value for f in found])
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert np.mean([f.low > 0.0 for f in found]) == pytest.approx(0.05, abs=0.035)


def test_copying_is_far_below_zero_and_underfitting_far_above():
    rng = np.random.default_rng(5)
    test = rng.random(200)
    copied, blurred = one_cell(0.5 * rng.random(200), test), one_cell(0.5 + rng.random(200), test)
    assert copied.c_t < -3.0 < 3.0 < blurred.c_t
    assert copied.p_value < 0.01
    assert copied.low > 0.0
    assert copied.value > 3.0 > -3.0 > blurred.value


def test_a_cell_with_few_generations_or_without_test_images_is_left_out_and_none_left_is_an_error():
    with pytest.raises(InsufficientProbes, match=r"No cell of 2 has a test image and a share above 0\.6"):
        data_copying([1.0, 2.0], [0, 1], [1.0, 2.0], [0, 1], cells=2, min_share=0.6)
    with pytest.raises(InsufficientProbes):
        data_copying([1.0, 2.0], [0, 0], [1.0, 2.0], [1, 1], cells=2, min_share=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generated_cells": [0, 2]}, "`generated_cells` must be between 0 and 1, got 0 to 2"),
        ({"test_cells": [0]}, "`test_cells` must be 2 whole numbers"),
        ({"test_distances": [np.inf, 1.0]}, "`test_distances` must be finite"),
        ({"cells": 0}, "`cells` must be a whole number of at least 1"),
        ({"min_share": 1.0}, "`min_share` must be at least 0 and below 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    given = {
        "generated_distances": [1.0, 2.0],
        "generated_cells": [0, 1],
        "test_distances": [1.0, 2.0],
        "test_cells": [0, 1],
        "cells": 2,
        "min_share": 0.0,
    } | arguments
    names = ("generated_distances", "generated_cells", "test_distances", "test_cells")
    arrays = [given.pop(name) for name in names]
    with pytest.raises(UsageError, match=message):
        data_copying(*arrays, **given)
