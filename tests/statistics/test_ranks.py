import pytest
from scipy import stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import Ranks, binomial_lower, binomial_upper, ranks, values_needed

PRINTED = {
    100: Ranks(None, 4),
    300: Ranks(None, 8),
    368: Ranks(1, 9),
    500: Ranks(1, 11),
    1_000: Ranks(4, 18),
    2_000: Ranks(12, 30),
    5_000: Ranks(37, 65),
    10_000: Ranks(81, 121),
}


@pytest.mark.parametrize("nonmembers", PRINTED)
def test_ranks_are_those_of_the_printed_table(nonmembers):
    assert ranks(nonmembers, 0.01, 0.025) == PRINTED[nonmembers]


@pytest.mark.parametrize("nonmembers", [1, 2, 7, 36, 80])
@pytest.mark.parametrize("x", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("a", [0.0125, 0.025, 0.4])
def test_ranks_agree_with_trying_every_one(nonmembers, x, a):
    every = range(1, nonmembers + 1)
    low = [k for k in every if stats.beta.sf(x, k, nonmembers + 1 - k) <= a]
    high = [k for k in every if stats.beta.cdf(x, k, nonmembers + 1 - k) <= a]
    assert ranks(nonmembers, x, a) == Ranks(max(low, default=None), min(high, default=None))


def test_ranks_are_also_the_counts_at_which_a_binomial_bound_meets_a_limit():
    found = ranks(200, 0.05, 0.05)
    assert binomial_upper(found.low - 1, 200, confidence=0.95) <= 0.05
    assert binomial_upper(found.low, 200, confidence=0.95) > 0.05
    assert binomial_lower(found.high, 200, confidence=0.95) >= 0.05
    assert binomial_lower(found.high - 1, 200, confidence=0.95) < 0.05


def test_the_number_needed_to_certify_a_rate_agrees_with_scipy(golden):
    for case in golden["certify"]:
        assert values_needed(case["rate"], 0.05) == case["trials"]


@pytest.mark.parametrize("x", [0.5, 0.2, 0.03, 0.004])
def test_the_number_needed_is_the_smallest(x):
    n = values_needed(x, 0.01)
    assert (1 - x) ** n <= 0.01 < (1 - x) ** (n - 1)


@pytest.mark.parametrize("n", [1, 3, 29, 39])
def test_the_number_needed_survives_rounding_where_the_equation_has_a_whole_solution(n):
    assert values_needed(0.5, 0.5**n) == n


def test_arguments_out_of_range_are_refused():
    with pytest.raises(UsageError, match="`nonmembers` must be a whole number of at least 1, got 0"):
        ranks(0, 0.01, 0.025)
    with pytest.raises(UsageError, match="`max_fpr` must be strictly between 0 and 1, got 1"):
        ranks(10, 1, 0.025)
    with pytest.raises(UsageError, match=r"`significance` must be above 0 and at most 0\.5, got 0\.95"):
        ranks(10, 0.01, 0.95)
