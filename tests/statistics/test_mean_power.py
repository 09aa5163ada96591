"""The gap that a mean's bound clears with the promised power, by simulation."""

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.mean_difference import MeanDifferenceStatistic, mean_difference, shown_shift


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


@pytest.mark.parametrize(("count", "limit"), [(40, 0.06), (150, 0.02)])
def test_a_plan_within_a_range_knows_what_an_unseen_image_may_hide(count, limit):
    """Errors around the middle of the range, spread as the plan says: four of five models without a leak pass."""
    statistic, rng, runs = MeanDifferenceStatistic(least=-0.5, most=0.0), np.random.default_rng(5), 150
    said = statistic.plan((count, count), limit)["to pass"]
    spread = float(said.split("at most ")[1].split(" RMS")[0])
    sides = (np.clip(rng.normal(-0.25, spread, (2, count)), -0.5, 0.0) for _ in range(runs))
    passed = np.mean([mean_difference(*pair, least=-0.5, most=0.0).high <= limit for pair in sides])
    assert passed == pytest.approx(0.8, abs=0.03 + 2 * np.sqrt(0.16 / runs))


def test_a_plan_says_where_so_few_images_pass_no_model():
    said = MeanDifferenceStatistic(least=-0.5, most=0.0).plan((12, 12), 0.01)["to pass"]
    assert said.startswith("these pass no model: images that were not seen may hide")
    rng = np.random.default_rng(6)
    assert mean_difference(*rng.normal(-0.25, 1e-9, (2, 12)), least=-0.5, most=0.0).high > 0.01
