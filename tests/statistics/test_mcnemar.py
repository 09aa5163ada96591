"""Paired yes-or-no answers; reference numbers from statsmodels and scipy."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import mcnemar

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "comparisons.json").read_text(encoding="utf-8"))
TABLES = [e for e in GOLDEN["entries"] if e["id"].startswith("mcnemar/")]


def flags(both, old_only, new_only, neither):
    old = [True] * both + [True] * old_only + [False] * new_only + [False] * neither
    new = [True] * both + [False] * old_only + [True] * new_only + [False] * neither
    return np.array(old), np.array(new)


@pytest.mark.parametrize("entry", TABLES, ids=lambda e: e["id"])
def test_the_two_sided_p_value_is_that_of_public_code(entry):
    (both, old_only), (new_only, neither) = entry["arguments"]["table"]
    found = mcnemar(*flags(both, old_only, new_only, neither))
    assert found.p_two_sided == pytest.approx(entry["output"]["exact_pvalue"], abs=1e-9)
    assert (found.old_only, found.new_only, found.probes) == (old_only, new_only, both + old_only + new_only + neither)


@pytest.mark.parametrize(("old_only", "new_only"), [(0, 0), (0, 4), (0, 5), (3, 9), (9, 3), (7, 0)])
def test_the_one_sided_p_value_is_the_binomial_tail(old_only, new_only):
    found = mcnemar(*flags(10, old_only, new_only, 20))
    assert found.p_worse == pytest.approx(stats.binom.sf(new_only - 1, old_only + new_only, 0.5), abs=1e-12)
    assert found.value == (new_only - old_only) / (30 + old_only + new_only)


def test_five_changed_probes_are_the_fewest_that_show_a_change_at_five_percent():
    assert mcnemar(*flags(0, 0, 4, 96)).p_worse > 0.05
    assert mcnemar(*flags(0, 0, 5, 95)).p_worse == pytest.approx(0.5**5)


def test_the_bounds_of_the_increase_hold_in_simulation():
    rng = np.random.default_rng(12)
    missed = np.zeros(2)
    for _ in range(300):
        draw = rng.random(200)
        old, new = draw < 0.10, (draw > 0.04) & (draw < 0.19)  # old 0.10, new 0.15
        found = mcnemar(old, new)
        missed += [found.low > 0.05, found.high < 0.05]
    assert missed.max() <= 15  # 5 % of 300; conservative
    assert found.low < found.value < found.high


def test_without_a_changed_probe_nothing_is_shown_and_the_bounds_are_not_zero():
    found = mcnemar(*flags(3, 0, 0, 97))
    assert (found.p_worse, found.p_two_sided, found.value) == (1.0, 1.0, 0.0)
    assert found.low < 0.0 < found.high


def test_what_is_not_a_pair_of_flags_is_refused():
    with pytest.raises(UsageError, match="one flag for each of 2 probes, got 1"):
        mcnemar([True, False], [True])
    with pytest.raises(UsageError, match="`old` must be a vector of booleans with at least one, got int64"):
        mcnemar([1, 0], [True, False])
