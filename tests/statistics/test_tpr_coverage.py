"""Do the bounds of a TPR hold as often as they say? Simulated with fixed seeds, 4,000 runs a case.

Scores are Gaussian: members shifted by 0 (no leak) or 1 (leak), so the true TPR is known in closed form.
"""

from functools import lru_cache

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.statistics import Verdict, decide, rate, tpr_at_fpr

RUNS = 4_000
SIZES = [(100, 1_000), (300, 300), (1_000, 1_000)]  # non-members, members
CASES = [(n0, n1, x, shift) for n0, n1 in SIZES for x in (0.01, 0.05) for shift in (0.0, 1.0)]


def true_tpr(max_fpr, shift):
    return stats.norm.sf(stats.norm.isf(max_fpr) - shift)


@lru_cache
def simulated(nonmembers, members, max_fpr, shift):
    rng = np.random.default_rng([17, nonmembers, members, round(1_000 * max_fpr), round(shift)])
    return [
        tpr_at_fpr(rng.normal(shift, 1, members), rng.normal(0, 1, nonmembers), max_fpr=max_fpr) for _ in range(RUNS)
    ]


@pytest.mark.parametrize(("nonmembers", "members", "max_fpr", "shift"), CASES)
@pytest.mark.slow
def test_each_bound_holds_with_its_confidence(nonmembers, members, max_fpr, shift):
    found, truth = simulated(nonmembers, members, max_fpr, shift), true_tpr(max_fpr, shift)
    assert np.mean([f.low <= truth for f in found]) >= 0.95
    assert np.mean([f.high >= truth for f in found]) >= 0.95


@pytest.mark.parametrize(("nonmembers", "members", "max_fpr", "shift"), CASES)
def test_a_verdict_just_beside_the_limit_is_rarely_wrong(nonmembers, members, max_fpr, shift):
    found, truth = simulated(nonmembers, members, max_fpr, shift), true_tpr(max_fpr, shift)
    passed = [decide(f, truth / 1.02).verdict is Verdict.PASS for f in found]
    failed = [decide(f, truth * 1.02).verdict is Verdict.FAIL for f in found]
    assert np.mean(passed) <= 0.05
    assert np.mean(failed) <= 0.05


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_bounds_hold_when_many_scores_are_tied(shift):
    rng, x, runs = np.random.default_rng([18, round(shift)]), 0.05, 2_000

    def halves(mean):
        return np.rint(2 * rng.normal(mean, 1, 300)) / 2

    steps = np.arange(-5.0, 5.0, 0.5)  # rounded to halves: score >= s means the Gaussian is >= s - 0.25
    truth = stats.norm.sf(steps[stats.norm.sf(steps - 0.25) <= x][0] - 0.25 - shift)
    found = [tpr_at_fpr(halves(shift), halves(0.0), max_fpr=x) for _ in range(runs)]
    assert np.mean([f.low <= truth for f in found]) >= 0.95
    assert np.mean([f.high >= truth for f in found]) >= 0.95


def test_the_usual_recipe_would_accuse_half_of_all_innocent_models():
    """Nominal 2.5 %: its threshold, just above the second-highest non-member, is taken for known."""
    found = simulated(100, 1_000, 0.01, 0.0)
    usual = [rate(round(f.value * f.members), f.members, confidence=0.975).low > 0.01 for f in found]
    exact = stats.betabinom.sf(17, 1_000, 2, 99)  # 18 of 1,000: the first lower bound above 1 %
    assert exact == pytest.approx(0.472, abs=5e-4)
    assert np.mean(usual) == pytest.approx(exact, abs=0.025)
    assert np.mean([f.low > 0.01 for f in found]) == 0.0


@pytest.mark.parametrize("probes", [20, 50, 100, 200, 500])
def test_a_pass_cannot_be_bought_with_a_small_sample(probes):
    """The true TPR is 25.9 %, the limit 25 %: however few the probes, PASS stays a rare mistake."""
    rng, runs = np.random.default_rng([19, probes]), 2_000
    found = [tpr_at_fpr(rng.normal(1, 1, probes), rng.normal(0, 1, probes), max_fpr=0.05) for _ in range(runs)]
    assert np.mean([decide(f, 0.25).verdict is Verdict.PASS for f in found]) <= 0.05


def test_a_known_leak_is_found_and_an_innocent_model_passes():
    leak = [f.low > 0.02 for f in simulated(1_000, 1_000, 0.01, 1.0)]
    innocent = [f.high <= 0.05 for f in simulated(1_000, 1_000, 0.01, 0.0)]
    assert np.mean(leak) > 0.8
    assert np.mean(innocent) > 0.99
