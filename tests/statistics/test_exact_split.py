"""Exact split: its error is all of the significance and no more, and its rank is the best one."""

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.statistics import recompute, tpr_at_fpr
from pytest_diffprivacy.statistics.exact_split import lower_split, upper_split
from pytest_diffprivacy.statistics.family import FamilyTprStatistic, plan_tpr
from pytest_diffprivacy.statistics.tpr import tpr_p_value

SIZES = [(299, 50), (310, 310), (500, 500), (1_000, 200)]
X = 0.01


@pytest.mark.parametrize(("n0", "n1"), SIZES)
@pytest.mark.parametrize("limit", [None, 0.0, 0.02, 0.05, 0.5])
def test_threshold_and_rate_share_the_significance(n0, n1, limit):
    low, high = lower_split(n0, n1, X, 0.05, limit), upper_split(n0, n1, X, 0.05, limit)
    for rank, rate, wrong in (
        (low.rank, low.rate, stats.binom.cdf(low.rank - 1, n0, X)),
        (high.rank, high.rate, stats.binom.sf(high.rank - 1, n0, X)),
    ):
        assert 1 <= rank <= n0
        assert 0.0 < rate < 0.05
        assert wrong + (1.0 - wrong) * rate == pytest.approx(0.05, abs=1e-12)


@pytest.mark.parametrize(("n0", "n1"), SIZES)
def test_a_step_is_the_worst_case_and_keeps_the_significance(n0, n1):
    """TPR at the limit up to FPR x and 1 beyond it, or 0 below x and just above the limit from there on."""
    rng, runs, limit = np.random.default_rng([31, n0]), 20_000, 0.05
    low, high = lower_split(n0, n1, X, 0.05, limit), upper_split(n0, n1, X, 0.05, limit)
    fpr = rng.beta(low.rank, n0 + 1 - low.rank, runs)
    hits = rng.binomial(n1, np.where(fpr <= X, limit, 1.0))
    false_fail = np.mean((hits > 0) & (stats.beta.ppf(low.rate, np.maximum(hits, 1), n1 - hits + 1) > limit))
    fpr = rng.beta(high.rank, n0 + 1 - high.rank, runs)
    hits = rng.binomial(n1, np.where(fpr < X, 0.0, limit))
    false_pass = np.mean(stats.beta.ppf(1 - high.rate, hits + 1, np.maximum(n1 - hits, 0.5)) <= limit)
    assert false_fail <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert false_pass <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert false_fail > 0.03  # nothing is given away but whole numbers


def chance(n0, n1, rank, limit, roc, *, fails):
    """P(FAIL) or P(PASS) by one rank, over 4,000 quantiles of the threshold's FPR; 0 if the rank will not do."""
    wrong = stats.binom.cdf(rank - 1, n0, X) if fails else stats.binom.sf(rank - 1, n0, X)
    if wrong >= 0.05:
        return 0.0
    rate, hits = (0.05 - wrong) / (1.0 - wrong), np.arange(n1 + 1)
    rates = roc(stats.beta.ppf((np.arange(4_000) + 0.5) / 4_000, rank, n0 + 1 - rank))
    if fails:
        decided = hits[(hits > 0) & (stats.beta.ppf(rate, np.maximum(hits, 1), n1 - hits + 1) > limit)]
        return stats.binom.sf(decided.min() - 1, n1, rates).mean() if decided.size else 0.0
    decided = hits[:-1][stats.beta.ppf(1 - rate, hits[:-1] + 1, n1 - hits[:-1]) <= limit]
    return stats.binom.cdf(decided.max(), n1, rates).mean() if decided.size else 0.0


def test_the_rank_is_the_best_of_all_that_hold():
    n0 = n1 = 500
    passes = {k: chance(n0, n1, k, 0.05, lambda f: f, fails=False) for k in range(1, 40)}
    assert passes[upper_split(n0, n1, X, 0.05, 0.05).rank] == pytest.approx(max(passes.values()), abs=2e-3)
    shift = stats.norm.isf(X) - stats.norm.isf(0.12)
    fails = {
        k: chance(n0, n1, k, 0.02, lambda f: stats.norm.sf(stats.norm.isf(f) - shift), fails=True) for k in range(1, 10)
    }
    assert fails[lower_split(n0, n1, X, 0.05, 0.02).rank] == max(fails.values())


@pytest.mark.parametrize(("n", "true", "limit", "power"), [(500, 0.1, 0.02, 0.66), (500, 0.2, 0.05, 0.77)])
def test_a_leak_is_found_as_often_as_the_printed_table_says(n, true, limit, power):
    rng, runs, shift = np.random.default_rng([32, n]), 1_000, stats.norm.isf(X) - stats.norm.isf(true)
    pairs = [(rng.normal(shift, 1, n), rng.normal(0, 1, n)) for _ in range(runs)]
    exact = np.mean([tpr_at_fpr(*pair, max_fpr=X, limit=limit).low > limit for pair in pairs])
    half = np.mean([tpr_at_fpr(*pair, max_fpr=X, rule=1).low > limit for pair in pairs])
    assert exact == pytest.approx(power, abs=0.04)
    assert half < exact - 0.2
    assert plan_tpr(310, 310, limit=limit, max_fpr=X).smallest is not None


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_the_p_value_is_within_the_significance_exactly_where_the_bound_refutes(shift):
    rng, seen = np.random.default_rng([33, round(10 * shift)]), set()
    for _ in range(150):
        pair = rng.normal(shift, 1, 80), rng.normal(0, 1, 90)
        low = tpr_at_fpr(*pair, max_fpr=0.05, limit=0.06).low
        p = tpr_p_value(*pair, 0.06, max_fpr=0.05, designed=0.06)
        assert (p <= 0.05) == (low > 0.06)
        seen.add(p <= 0.05)
    assert False in seen


def test_the_p_value_of_a_claim_that_holds_is_rarely_small():
    rng, runs = np.random.default_rng(34), 2_000
    limit = stats.norm.sf(stats.norm.isf(0.05) - 1)
    pairs = [(rng.normal(1, 1, 60), rng.normal(0, 1, 120)) for _ in range(runs)]
    p = np.array([tpr_p_value(*pair, limit, max_fpr=0.05, designed=limit) for pair in pairs])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 2 * np.sqrt(level * (1 - level) / runs)


def test_records_without_a_rule_are_judged_half_and_half():
    rng = np.random.default_rng(35)
    arrays = {"members": [rng.normal(1, 1, 400)], "nonmembers": [rng.normal(0, 1, 500)]}
    old = recompute("family_tpr", arrays, {"max_fpr": X, "confidence": 0.95})
    new = FamilyTprStatistic(max_fpr=X, limit=0.05).measure(arrays)
    half = tpr_at_fpr(arrays["members"][0], arrays["nonmembers"][0], max_fpr=X, rule=1)
    assert (old.low, old.high) == (half.low, half.high) != (new.low, new.high)
