import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import binomial_lower, binomial_upper, copy_rate, is_copy


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
