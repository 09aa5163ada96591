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
