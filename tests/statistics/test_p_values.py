"""Corrections for several claims; reference numbers from statsmodels."""

import json
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import binomial_lower, exceedance_p_values, holm, p_value_from_bounds
from pytest_diffprivacy.statistics.p_values import benjamini_hochberg

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "comparisons.json").read_text(encoding="utf-8"))


def test_it_agrees_with_public_code():
    (entry,) = (e for e in GOLDEN["entries"] if e["id"] == "multiple_testing")
    found = holm(entry["arguments"]["p"])
    assert found.adjusted == pytest.approx(entry["output"]["holm"]["adjusted"], abs=1e-12)
    assert list(found.refuted) == entry["output"]["holm"]["reject"]


def test_it_rejects_step_by_step_as_the_paper_says():
    rng = np.random.default_rng(3)
    for _ in range(50):
        p = rng.random(7) ** 4
        reject, ordered = np.zeros(7, dtype=bool), np.argsort(p)
        for i, place in enumerate(ordered):
            if p[place] > 0.05 / (7 - i):
                break
            reject[place] = True
        assert list(holm(p.tolist()).refuted) == reject.tolist()


def test_tests_without_a_p_value_count_in_the_family():
    assert holm([0.02], size=1).refuted == (True,)
    assert holm([0.02], size=3).refuted == (False,)
    assert holm([0.02], size=3).adjusted == pytest.approx((0.06,))
    assert holm([], size=3).refuted == ()


def test_impossible_arguments_are_refused():
    with pytest.raises(UsageError, match="`p_values` must be between 0 and 1"):
        holm([0.5, 1.5])
    with pytest.raises(UsageError, match="`size` must be a whole number of at least 2, got 1"):
        holm([0.5, 0.1], size=1)


def test_the_p_value_is_the_significance_at_which_the_bound_meets_the_limit():
    def lower(confidence):
        return binomial_lower(8, 100, confidence=confidence)

    p = p_value_from_bounds(lower, 0.02)
    assert lower(1 - p) > 0.02 >= lower(1 - p * (1 - 1e-4))
    assert p_value_from_bounds(lower, 0.5) == 1.0
    assert p_value_from_bounds(lambda c: 1.0, 0.5) == 1e-12


def test_a_list_holds_as_few_false_ones_as_it_says():
    """20 of 1,000 prompts are memorized; a fixed threshold at 1 % lists a third of false ones."""
    rng, shares, found = np.random.default_rng(9), [], []
    for _ in range(2000):
        scores, reference = rng.normal(size=500), rng.normal(size=1000)
        scores[:20] += 4.0
        listed = benjamini_hochberg(exceedance_p_values(scores, reference))
        shares.append(listed[20:].sum() / max(1, listed.sum()))
        found.append(listed[:20].mean())
    assert np.mean(shares) <= 0.1 + 2 * np.std(shares) / np.sqrt(2000)
    assert np.mean(found) > 0.7
    assert not benjamini_hochberg([0.5, 0.9]).any()
    assert benjamini_hochberg([0.04, 0.9, 0.01]).tolist() == [True, False, True]
