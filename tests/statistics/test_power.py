"""Plans without a measurement: METHODS' printed table, and simulation."""

import numpy as np
import pytest
from scipy import special, stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import Verdict, decide, excess_rate, rate, tpr_at_fpr
from pytest_diffprivacy.statistics.family import plan_tpr
from pytest_diffprivacy.statistics.rate import plan_rate

PASS_WITHOUT_A_LEAK = [
    (0.03, 1_000, 0.69),
    (0.03, 2_000, 0.97),
    (0.05, 500, 0.88),
    (0.10, 100, 0.64),
    (0.10, 300, 0.99),
]


@pytest.mark.parametrize(("limit", "size", "printed"), PASS_WITHOUT_A_LEAK)
def test_the_chance_to_pass_is_that_of_the_printed_table(limit, size, printed):
    assert plan_tpr(size, size, limit=limit, max_fpr=0.01).pass_chance == pytest.approx(printed, abs=0.01)


@pytest.mark.parametrize(("members", "nonmembers"), [(300, 500), (900, 400)])
def test_the_smallest_leak_is_shown_with_the_promised_power(members, nonmembers):
    plan = plan_tpr(members, nonmembers, limit=0.05, max_fpr=0.01)
    shift = special.ndtri(plan.smallest) - special.ndtri(0.01)
    rng = np.random.default_rng(9)
    fails = 0
    for _ in range(600):
        found = tpr_at_fpr(rng.normal(shift, 1, members), rng.normal(0, 1, nonmembers), max_fpr=0.01, limit=0.05)
        fails += decide(found, 0.05).verdict is Verdict.FAIL
    assert fails / 600 == pytest.approx(0.8, abs=0.05)


def test_too_few_non_members_can_show_nothing():
    plan = plan_tpr(500, 298, limit=0.05, max_fpr=0.01)
    assert plan.smallest is None
    assert plan.fail_needs == 299
    assert plan_tpr(500, 500, limit=0.01, max_fpr=0.01).pass_needs is None


def test_a_rate_is_planned_by_its_exact_bounds():
    plan = plan_rate(4096, limit=0.001)
    assert (plan.pass_chance, plan.pass_needs) == (1.0, 2995)
    assert plan_rate(2994, limit=0.001).pass_chance == 0.0
    draws = np.random.default_rng(4).binomial(4096, plan.smallest, 2_000)
    fails = [decide(rate(int(k), 4096), 0.001).verdict is Verdict.FAIL for k in draws]
    assert np.mean(fails) == pytest.approx(0.8, abs=0.03)


def test_impossible_plans_are_refused():
    with pytest.raises(UsageError, match="`nonmembers` must be a whole number of at least 1, got 0"):
        plan_tpr(10, 0, limit=0.1, max_fpr=0.01)
    with pytest.raises(UsageError, match="`power` must be strictly between"):
        plan_rate(10, limit=0.1, power=1.0)


def test_a_control_makes_the_smallest_rate_larger_as_its_bounds_do():
    plan = plan_rate(500, limit=0.01, controls=500)
    counts = np.arange(501)
    refuted = np.array([excess_rate(int(k), 500, 0, 500).low > 0.01 for k in counts])

    def chance(true):
        return stats.binom.pmf(counts, 500, true)[refuted].sum()

    assert chance(plan.smallest) == pytest.approx(0.8, abs=1e-6)
    assert plan.smallest > plan_rate(500, limit=0.01).smallest


def test_a_model_without_a_leak_may_have_a_rate_of_its_own():
    plan = plan_rate(400, limit=0.6, unleaked=0.5)
    counts = np.arange(401)
    passed = np.array([rate(int(k), 400).high <= 0.6 for k in counts])
    assert plan.pass_chance == pytest.approx(stats.binom.pmf(counts, 400, 0.5)[passed].sum(), abs=1e-9)
    assert plan_rate(plan.pass_needs, limit=0.6, unleaked=0.5).pass_chance >= 0.8
    assert plan_rate(400, limit=0.5, unleaked=0.5).pass_needs is None
    with pytest.raises(UsageError, match=r"`unleaked` must be at most the limit 0\.5, got 0\.6"):
        plan_rate(400, limit=0.5, unleaked=0.6)
