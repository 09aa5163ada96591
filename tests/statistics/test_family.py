"""Several attacks, one claim."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import Verdict, decide, family_test, family_tpr, tpr_at_fpr


def scores(shift: float, seed: int, members: int = 600, others: int = 800) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(shift, 1.0, members), generator.normal(0.0, 1.0, others)


def test_one_attack_is_judged_as_without_a_family():
    pair = scores(1.0, 1)
    alone, family = tpr_at_fpr(*pair, max_fpr=0.05), family_tpr({"a": pair}, max_fpr=0.05)
    assert (family.value, family.low, family.high) == (alone.value, alone.low, alone.high)
    assert family.worst == "a"


def test_a_pass_needs_every_attack_and_no_correction():
    weak, strong = scores(0.0, 2), scores(1.0, 3)
    family = family_tpr({"weak": weak, "strong": strong}, max_fpr=0.05)
    assert family.high == tpr_at_fpr(*strong, max_fpr=0.05).high
    assert family.high > tpr_at_fpr(*weak, max_fpr=0.05).high
    assert family.worst == "strong"


def test_a_fail_is_corrected_for_the_number_of_attacks():
    pair = scores(1.0, 4)
    family = family_tpr({"a": pair, "b": scores(0.0, 5), "c": scores(0.0, 6)}, max_fpr=0.05)
    assert family.low == tpr_at_fpr(*pair, max_fpr=0.05, confidence=1.0 - 0.05 / 3).low
    assert family.low < tpr_at_fpr(*pair, max_fpr=0.05).low


def test_many_innocent_attacks_seldom_accuse_an_innocent_model():
    fails = 0
    for run in range(400):
        attacks = {str(i): scores(0.0, 1000 + 10 * run + i, members=300, others=400) for i in range(8)}
        fails += decide(family_tpr(attacks, max_fpr=0.05), 0.05).verdict is Verdict.FAIL
    assert fails <= 20  # 5 % of 400


def test_an_empty_family_is_refused():
    with pytest.raises(UsageError, match="at least one attack, got none"):
        family_tpr({}, max_fpr=0.05)


def test_too_few_non_members_are_an_error_that_says_how_many_are_needed():
    with pytest.raises(InsufficientProbes, match="299 are needed"):
        family_tpr({"a": scores(0.0, 1, others=50)}, max_fpr=0.01)


def test_holm_refutes_some_attack_exactly_if_the_corrected_bound_does():
    outcomes = set()
    for seed in range(12):
        attacks = {"a": scores(0.4, 100 + seed), "b": scores(0.3, 200 + seed), "c": scores(0.0, 300 + seed)}
        found = family_test(attacks, 0.06, max_fpr=0.05)
        low = family_tpr(attacks, max_fpr=0.05).low
        assert bool(found.refuted) == (low > 0.06) == (found.p_value < 0.05)
        outcomes.add(bool(found.refuted))
        assert found.p_value == pytest.approx(min(1.0, 3 * min(found.p_values.values())))
    assert outcomes == {True, False}


def test_holm_names_every_attack_that_exceeds_the_limit():
    found = family_test({"a": scores(1.0, 1), "b": scores(1.2, 2), "c": scores(0.0, 3)}, 0.1, max_fpr=0.05)
    assert found.refuted == ("a", "b")
    assert found.p_values["c"] > 0.05
