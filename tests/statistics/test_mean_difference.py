"""Mean differences: scipy's Welch interval, bounds that hold by simulation, and what is undefined."""

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import mean_difference


def test_bounds_are_scipys_welch_interval():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.3, 1.0, 25), rng.normal(0.0, 3.0, 60)
    found = mean_difference(first, second, confidence=0.95)
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert (found.first, found.second) == (25, 60)


def test_each_bound_is_wrong_in_about_one_run_of_twenty():
    rng, wrong = np.random.default_rng(2), np.zeros(2)
    for _ in range(1000):
        found = mean_difference(rng.normal(0.2, 1.0, 30), rng.normal(0.0, 2.0, 20))
        wrong += [found.low > 0.2, found.high < 0.2]
    assert wrong / 1000 == pytest.approx([0.05, 0.05], abs=0.021)


@pytest.mark.parametrize(("members", "others"), [(20, 20), (20, 60)])
def test_within_a_range_a_limit_just_below_the_truth_hardly_ever_passes(members, others):
    """One member in twenty is fully restored; or one other in twenty is hard, where members of its kind are not."""
    rng, wrong, runs = np.random.default_rng(4), np.zeros(4), 2000
    for _ in range(runs):
        usual, errors = rng.normal(0.2, 0.02, others), rng.normal(0.2, 0.02, members)
        restored = np.where(rng.random(members) < 0.05, 0.0, errors)
        found = mean_difference(-restored, -usual, least=-0.5, most=0.0)
        wrong[:2] += [found.high < 0.01, found.low > 0.01]
        hard = np.where(rng.random(others) < 0.05, 0.5, usual)
        found = mean_difference(-errors, -hard, least=-0.5, most=0.0)
        wrong[2:] += [found.high < 0.015, found.low > 0.015]
    assert (wrong / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)).all()


def test_one_constant_side_still_has_an_interval():
    found = mean_difference(np.zeros(10), np.arange(10.0))
    assert found.low < found.value < found.high


def test_what_is_undefined_is_an_error():
    with pytest.raises(InsufficientProbes, match="means of 9 and 20 images: at least 10"):
        mean_difference(np.arange(9.0), np.arange(20.0))
    with pytest.raises(AuditError, match="nothing varies"):
        mean_difference(np.zeros(10), np.ones(10))
    with pytest.raises(UsageError, match="`second` must be finite"):
        mean_difference(np.arange(10.0), np.full(10, np.nan))
    with pytest.raises(UsageError, match="`least` must be at most `most`, both finite"):
        mean_difference(np.arange(10.0), np.arange(10.0), least=1.0, most=0.0)
