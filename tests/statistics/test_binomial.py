import numpy as np
import pytest
from scipy import optimize, stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import binomial_lower, binomial_upper, excess_rate, rate


def test_bounds_agree_with_scipy(golden):
    for case in golden["binomial"]:
        k, n, confidence = case["successes"], case["trials"], case["confidence"]
        assert binomial_lower(k, n, confidence=confidence) == pytest.approx(case["lower"], abs=1e-8)
        assert binomial_upper(k, n, confidence=confidence) == pytest.approx(case["upper"], abs=1e-8)
        each = (1 + confidence) / 2
        two_sided = [binomial_lower(k, n, confidence=each), binomial_upper(k, n, confidence=each)]
        assert two_sided == pytest.approx(case["two_sided"], abs=1e-8)


def test_no_success_of_n_bounds_the_rate_by_the_printed_table():
    table = {100: 0.0295, 300: 0.0099, 1_000: 0.0030, 3_000: 0.0010, 10_000: 0.0003}
    for trials, upper in table.items():
        assert rate(0, trials).high == pytest.approx(upper, abs=6e-5)
        assert rate(0, trials).high == pytest.approx(1 - 0.05 ** (1 / trials), rel=1e-12)


def test_all_successes_mirror_no_success():
    assert rate(40, 40).low == pytest.approx(0.05 ** (1 / 40), rel=1e-12)
    assert (rate(40, 40).high, rate(0, 40).low) == (1.0, 0.0)


def test_the_upper_bound_is_the_rate_at_which_so_few_would_be_a_surprise():
    solved = optimize.brentq(lambda p: stats.binom.cdf(7, 90, p) - 0.05, 0.01, 0.5, xtol=1e-14)
    assert rate(7, 90).high == pytest.approx(solved, abs=1e-10)
    solved = optimize.brentq(lambda p: stats.binom.sf(6, 90, p) - 0.05, 0.001, 0.5, xtol=1e-14)
    assert rate(7, 90).low == pytest.approx(solved, abs=1e-10)


@pytest.mark.parametrize("trials", [1, 5, 30, 200])
def test_each_bound_holds_with_its_confidence_whatever_the_rate(trials):
    estimates = [rate(k, trials) for k in range(trials + 1)]
    low, high = np.array([e.low for e in estimates]), np.array([e.high for e in estimates])
    for truth in np.linspace(0.001, 0.999, 400):
        chance = stats.binom.pmf(np.arange(trials + 1), trials, truth)
        assert chance[low > truth].sum() <= 0.05 + 1e-9
        assert chance[high < truth].sum() <= 0.05 + 1e-9


def test_an_estimate_carries_its_counts():
    estimate = rate(np.int64(3), np.int32(100), confidence=0.9)
    assert (estimate.successes, estimate.trials, estimate.value, estimate.confidence) == (3, 100, 0.03, 0.9)
    assert estimate.low < estimate.value < estimate.high


def test_false_matches_never_buy_a_pass():
    clean, sloppy = excess_rate(5, 1_000, 0, 1_000), excess_rate(5, 1_000, 50, 1_000)
    assert clean.high == sloppy.high == rate(5, 1_000).high
    assert sloppy.value == sloppy.low == 0.0


def test_an_accusation_needs_more_than_the_control_explains():
    found = excess_rate(60, 1_000, 4, 800)
    lower = binomial_lower(60, 1_000, confidence=0.975)
    assert found.low == pytest.approx(lower - binomial_upper(4, 800, confidence=0.975), abs=1e-14)
    assert found.value == pytest.approx(0.06 - 0.005)
    counts = (found.successes, found.trials, found.control_successes, found.control_trials)
    assert counts == (60, 1_000, 4, 800)


@pytest.mark.parametrize(("truth", "control"), [(0.05, 0.05), (0.1, 0.03), (0.3, 0.2), (0.02, 0.0)])
def test_bounds_of_an_excess_hold_with_their_confidence(truth, control):
    n, m = 60, 40
    wrong_low = wrong_high = 0.0
    for k in range(n + 1):
        for j in range(m + 1):
            chance = stats.binom.pmf(k, n, truth) * stats.binom.pmf(j, m, control)
            found = excess_rate(k, n, j, m)
            wrong_low += chance * (found.low > truth - control)
            wrong_high += chance * (found.high < truth - control)
    assert wrong_low <= 0.05
    assert wrong_high <= 0.05


@pytest.mark.parametrize(
    ("successes", "trials", "message"),
    [
        (-1, 10, "`successes` must be a whole number of at least 0, got -1"),
        (11, 10, r"`successes` must be at most `trials` \(10\), got 11"),
        (0, 0, "`trials` must be a whole number of at least 1, got 0"),
        (1.0, 10, "`successes` must be a whole number"),
        (True, 10, "`successes` must be a whole number"),
        (0, "9", "`trials` must be a whole number"),
    ],
)
def test_impossible_counts_are_refused(successes, trials, message):
    with pytest.raises(UsageError, match=message):
        rate(successes, trials)


def test_impossible_counts_of_a_control_are_named():
    with pytest.raises(UsageError, match="`control_successes` must be at most `control_trials`"):
        excess_rate(1, 10, 4, 3)
