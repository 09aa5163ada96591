"""The gap that a mean's bound clears with the promised power, by simulation."""

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.mean_difference import mean_difference, shown_shift


@pytest.mark.parametrize(("first", "second"), [(10, 10), (40, 60)])
def test_two_groups_show_the_gap_with_probability_four_fifths(first, second):
    gap, rng = shown_shift(first, second), np.random.default_rng(3)
    drawn = [mean_difference(rng.normal(gap, 1, first), rng.normal(0, 1, second)) for _ in range(800)]
    assert np.mean([found.low > 0.0 for found in drawn]) == pytest.approx(0.8, abs=0.045)


def test_one_group_is_students_test():
    gap, rng = shown_shift(12, confidence=0.99), np.random.default_rng(4)
    values = rng.normal(gap, 1.0, (4000, 12))
    shown = stats.ttest_1samp(values, 0.0, axis=1, alternative="greater").pvalue < 0.01
    assert shown.mean() == pytest.approx(0.8, abs=0.025)


def test_a_group_of_one_is_refused():
    with pytest.raises(UsageError, match="`second` must be a whole number of at least 2, got 1"):
        shown_shift(10, 1)
