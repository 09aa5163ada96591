import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import binomial_lower, binomial_upper, copy_rate, is_copy, running_copy_rate


def flags(hits: int, count: int = 1000) -> np.ndarray:
    return np.arange(count) < hits


def test_a_copy_is_near_and_conspicuously_near():
    near = is_copy([0.1, 0.1, 0.2, 0.15], [0.5, 0.9, 0.5, 0.8], delta=0.15, threshold=0.8)
    assert near.tolist() == [True, False, False, True]


def test_pass_by_all_copies_and_fail_by_what_the_control_does_not_explain():
    found = copy_rate(flags(40), flags(30), flags(10), confidence=0.95)
    assert (found.copies, found.compared_copies, found.false_matches, found.generations) == (40, 30, 10, 1000)
    assert found.value == 0.04
    assert found.high == binomial_upper(40, 1000, confidence=0.95)
    expected = binomial_lower(30, 1000, confidence=0.975) - binomial_upper(10, 1000, confidence=0.975)
    assert found.low == pytest.approx(expected, rel=1e-12)
    assert expected < 0.02


def test_a_control_as_rich_as_the_copies_leaves_no_lower_bound():
    assert copy_rate(flags(40), flags(40), flags(40)).low == 0.0


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(UsageError, match=r"must be as long as `copies` \(1000\), got 999 and 1000"):
        copy_rate(flags(4), flags(4, 999), flags(4))


def test_a_running_rate_refutes_a_leak_before_the_planned_number_and_keeps_its_bounds_in_order():
    found = running_copy_rate(flags(300, 300), flags(300, 300), flags(0, 300), planned=5000)
    assert (found.generations, found.value) == (300, 1.0)
    assert 0.9 < found.low <= found.value <= found.high


def test_a_running_rate_at_its_planned_number_passes_by_the_exact_bound():
    found = running_copy_rate(flags(0), flags(0), flags(0), planned=1000)
    assert (found.low, found.high) == (0.0, binomial_upper(0, 1000, confidence=0.95))
    stopped = running_copy_rate(flags(0), flags(0), flags(0), planned=1001)
    assert stopped.high > found.high


def test_false_matches_as_frequent_as_copies_refute_nothing_at_any_time():
    rng = np.random.default_rng(3)
    copies, false = rng.random(2000) < 0.3, rng.random(2000) < 0.3
    for count in (100, 500, 2000):
        assert running_copy_rate(copies[:count], copies[:count], false[:count], planned=2000).low < 0.03


@pytest.mark.slow
def test_the_running_lower_bound_is_wrong_in_at_most_one_stream_of_twenty():
    """The largest lower bound that any look saw, against the true excess: copies 0.3, false matches 0.1."""
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(400):
        copies, false = rng.random(1000) < 0.3, rng.random(1000) < 0.1
        wrong += running_copy_rate(copies, copies, false, planned=1000).low > 0.2
    assert wrong <= 27  # 20 expected at the most; beyond 27 has probability below 5 %


def test_more_than_planned_is_refused():
    with pytest.raises(UsageError, match="`planned` must be at least the 1000 generations made, got 999"):
        running_copy_rate(flags(4), flags(4), flags(4), planned=999)


def test_bounds_enclose_the_observed_rate_even_if_it_changes_on_the_way():
    none = np.zeros(400, dtype=bool)
    late, early = none.copy(), none.copy()
    late[150:], early[:20] = True, True
    for copies in (late, early):
        for count in (250, 400):
            found = running_copy_rate(copies[:count], copies[:count], none[:count], planned=400)
            assert found.low <= found.value <= found.high
