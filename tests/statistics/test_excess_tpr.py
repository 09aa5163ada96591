"""The excess over chance: the TPR moved by a constant, above 0 only where there is a leak."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import excess_tpr, recompute, tpr_at_fpr


def test_it_is_the_tpr_minus_what_chance_gives():
    rng = np.random.default_rng(1)
    members, others = rng.normal(1.0, 1.0, 80), rng.normal(0.0, 1.0, 400)
    plain, found = (f(members, others, max_fpr=0.05) for f in (tpr_at_fpr, excess_tpr))
    assert (found.value, found.low, found.high) == (plain.value - 0.05, plain.low - 0.05, plain.high - 0.05)
    assert (found.tpr, found.members, found.nonmembers) == (plain.value, 80, 400)
    stored = {"members": [members], "nonmembers": [others]}
    assert recompute("excess_tpr", stored, {"max_fpr": 0.05, "confidence": 0.95, "rule": 2}) == found


def test_without_a_leak_the_lower_bound_is_above_zero_in_at_most_one_run_of_twenty():
    rng = np.random.default_rng(2)
    found = [excess_tpr(rng.random(20), rng.random(120), max_fpr=0.05) for _ in range(600)]
    assert np.mean([f.low > 0.0 for f in found]) <= 0.05
    assert np.mean([f.high < 0.0 for f in found]) <= 0.05


def test_ten_recognised_members_prove_a_leak():
    found = excess_tpr(np.arange(200.0, 210.0), np.arange(100.0), max_fpr=0.05)
    assert found.value == pytest.approx(0.95)
    assert found.low == pytest.approx(((0.05 - 0.95**100) / (1.0 - 0.95**100)) ** (1 / 10) - 0.05)


def test_what_is_undefined_is_an_error():
    with pytest.raises(InsufficientProbes, match="10 non-members"):
        excess_tpr(np.ones(5), np.ones(10), max_fpr=0.01)
    with pytest.raises(UsageError, match="`max_fpr` must be"):
        excess_tpr(np.ones(5), np.ones(10), max_fpr=1.0)
