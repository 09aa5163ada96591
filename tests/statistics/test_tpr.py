import dataclasses

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics import nonmembers_needed, tpr_at_fpr


@pytest.mark.parametrize("name", ["separated", "ties", "perfect", "null"])
def test_the_value_agrees_with_scikit_learn_wherever_it_is_defined(golden, name):
    member, nonmember = golden["data"][name]["member"], golden["data"][name]["nonmember"]
    expected = golden["tpr_at_fpr"][name]
    for max_fpr, tpr in zip(expected["max_fpr"], expected["tpr"], strict=True):
        if max_fpr < 1 / len(nonmember):
            with pytest.raises(InsufficientProbes):
                tpr_at_fpr(member, nonmember, max_fpr=max_fpr)
        else:
            assert tpr_at_fpr(member, nonmember, max_fpr=max_fpr).value == pytest.approx(tpr, abs=1e-12)


def naive_tpr(member, nonmember, x, confidence):
    """Try every threshold for the value; METHODS 7.2 line by line for the half-half split."""
    value = 0.0
    for threshold in (*member, *nonmember):
        if np.mean([n >= threshold for n in nonmember]) <= x:
            value = max(value, np.mean([m >= threshold for m in member]))
    a, o, n0, n1 = (1 - confidence) / 2, sorted(nonmember, reverse=True), len(nonmember), len(member)
    low = [k for k in range(1, n0 + 1) if stats.beta.sf(x, k, n0 + 1 - k) <= a]
    high = [k for k in range(1, n0 + 1) if stats.beta.cdf(x, k, n0 + 1 - k) <= a]
    lower, upper = 0.0, 1.0
    if low:
        k = sum(m > o[max(low) - 1] for m in member)
        lower = stats.beta.ppf(a, k, n1 - k + 1) if k else 0.0
    if high:
        k = sum(m >= o[min(high) - 1] for m in member)
        upper = stats.beta.ppf(1 - a, k + 1, n1 - k) if k < n1 else 1.0
    return value, lower, upper


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("max_fpr", [0.02, 0.1, 0.29, 0.7])
def test_value_and_bounds_agree_with_a_naive_twin(decimals, max_fpr):
    rng = np.random.default_rng(13)
    member, nonmember = rng.normal(1, 1, 60).round(decimals), rng.normal(0, 1, 100).round(decimals)
    found = tpr_at_fpr(member, nonmember, max_fpr=max_fpr, confidence=0.9, rule=1)
    expected = naive_tpr(member, nonmember, max_fpr, 0.9)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("max_fpr", [0.01, 0.05, 0.29, 0.57])
def test_the_threshold_reaches_the_value_within_the_limit(decimals, max_fpr):
    rng = np.random.default_rng(14)
    member, nonmember = rng.normal(1, 1, 60).round(decimals), rng.normal(0, 1, 100).round(decimals)
    found = tpr_at_fpr(member, nonmember, max_fpr=max_fpr)
    if found.threshold is None:
        assert found.value == found.fpr == 0.0
    else:
        assert np.mean(member >= found.threshold) == found.value
        assert np.mean(nonmember >= found.threshold) == found.fpr <= max_fpr
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("allowed", range(1, 100))
def test_a_limit_of_k_of_100_allows_exactly_k_false_positives(allowed):
    found = tpr_at_fpr(np.arange(100) + 0.5, np.arange(100), max_fpr=allowed / 100)
    assert found.value == pytest.approx((allowed + 1) / 100)
    assert found.fpr == allowed / 100


def test_ties_with_a_non_member_are_not_split():
    found = tpr_at_fpr([1.0, 1.0, 2.0], [1.0, 0.0, 0.0, 1.0], max_fpr=0.25)
    assert (found.value, found.threshold, found.fpr) == (1 / 3, 2.0, 0.0)
    blind = tpr_at_fpr(np.ones(50), np.ones(50), max_fpr=0.1)
    assert (blind.value, blind.low, blind.high, blind.threshold) == (0.0, 0.0, 1.0, None)


def test_a_lower_bound_needs_the_printed_number_of_non_members():
    assert [nonmembers_needed(x, 0.95) for x in (0.1, 0.05, 0.01, 0.001)] == [29, 59, 299, 2995]


def test_one_non_member_decides_between_no_lower_bound_and_one():
    leak = np.full(1_000, 9.0)
    few = tpr_at_fpr(leak, np.linspace(0, 1, 298), max_fpr=0.01)
    enough = tpr_at_fpr(leak, np.linspace(0, 1, 299), max_fpr=0.01)
    assert (few.value, few.low, few.rank_low) == (1.0, 0.0, None)
    assert enough.rank_low == 1
    missed = 0.99**299
    assert enough.low == pytest.approx(((0.05 - missed) / (1.0 - missed)) ** (1 / 1_000), abs=1e-12)


def test_a_rate_below_the_resolution_is_undefined_and_says_what_is_needed():
    message = (
        "^Cannot bound TPR at FPR 0.001 from 200 non-members: at least 2995 are needed. "
        "Raise max_fpr or add non-members.$"
    )
    with pytest.raises(InsufficientProbes, match=message) as caught:
        tpr_at_fpr(np.arange(50), np.arange(200), max_fpr=0.001)
    assert caught.value.needed == 2995


def test_a_two_sided_interval_is_the_pair_of_sharper_one_sided_bounds():
    rng = np.random.default_rng(15)
    a, b = rng.normal(1, 1, 400), rng.normal(0, 1, 600)
    two = tpr_at_fpr(a, b, max_fpr=0.05, interval="two-sided")
    one = tpr_at_fpr(a, b, max_fpr=0.05, confidence=0.975)
    assert (two.low, two.high) == pytest.approx((one.low, one.high))
    plain = tpr_at_fpr(a, b, max_fpr=0.05)
    assert two.low < plain.low < plain.value < plain.high < two.high


def test_only_the_order_of_scores_matters():
    rng = np.random.default_rng(16)
    a, b = rng.normal(1, 1, 400), rng.normal(0, 1, 600)
    plain, warped = tpr_at_fpr(a, b, max_fpr=0.05), tpr_at_fpr(np.exp(a), np.exp(b), max_fpr=0.05)
    assert warped == dataclasses.replace(plain, threshold=warped.threshold)


def test_the_result_carries_its_counts():
    found = tpr_at_fpr(np.arange(60), np.arange(500), max_fpr=0.01, confidence=0.9)
    assert (found.members, found.nonmembers, found.max_fpr) == (60, 500, 0.01)
    assert (found.confidence, found.interval) == (0.9, "one-sided")
    assert (found.rank_low, found.rank_high) == (2, 10)
