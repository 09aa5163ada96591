"""Plans of a one-run audit: the fewest right guesses by trying all, and the power of the smallest leak."""

import pytest
from scipy import stats

from pytest_diffprivacy.statistics import one_run_epsilon
from pytest_diffprivacy.statistics.one_run import plan_guesses


def bound(right):
    return one_run_epsilon(200, 40, right, delta=1e-5).value


def test_the_fewest_right_guesses_are_found():
    plan = plan_guesses(40, bound, 1.0)
    assert plan.right == min(right for right in range(41) if bound(right) > 1.0)
    assert plan.most == bound(40)
    assert stats.binom.sf(plan.right - 1, 40, plan.smallest) == pytest.approx(0.8)


def test_guesses_that_can_refute_nothing_say_so():
    plan = plan_guesses(40, bound, 4.0)
    assert (plan.right, plan.smallest) == (None, None)
    assert plan.most < 4.0
