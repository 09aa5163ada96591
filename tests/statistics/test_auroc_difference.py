import json
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import auroc, auroc_difference

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "epsilon.json").read_text(encoding="utf-8"))
CASES = [entry for entry in GOLDEN["entries"] if entry["id"].startswith("delong_paired/")]


def correlated(rng, members=200, nonmembers=150, lift=0.0):
    """Two scores of the same images that share most of their noise; the first is better by `lift`."""
    sides = []
    for count, shift in ((members, 1.0), (nonmembers, 0.0)):
        shared = rng.normal(size=count)
        sides.append(
            [shared + shift * (1 + lift) + rng.normal(0, 0.5, count), shared + shift + rng.normal(0, 0.5, count)]
        )
    return (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"].partition("/")[2])
def test_the_test_equals_the_public_code(case):
    data, expected = GOLDEN["data"][case["inputs"]["data"]], case["output"]
    second = np.array(case["arguments"]["s2"])
    split = len(data["member"])
    found = auroc_difference((data["member"], data["nonmember"]), (second[:split], second[split:]))
    assert (found.first, found.second) == pytest.approx((expected["auc1"], expected["auc2"]), abs=1e-12)
    assert found.p_value == pytest.approx(expected["pvalue"], rel=1e-9)


def test_both_areas_are_those_of_the_single_scores():
    first, second = correlated(np.random.default_rng(47))
    found = auroc_difference(first, second)
    assert found.first == pytest.approx(auroc(*first).value, abs=1e-12)
    assert found.value == pytest.approx(auroc(*first).value - auroc(*second).value, abs=1e-12)


def test_pairing_makes_the_interval_shorter_than_two_separate_ones():
    first, second = correlated(np.random.default_rng(48))
    found = auroc_difference(first, second)
    assert found.variance < 0.5 * (auroc(*first).variance + auroc(*second).variance)


def test_each_bound_holds_with_its_confidence():
    rng, runs = np.random.default_rng(49), 1_000
    found = [auroc_difference(*correlated(rng)) for _ in range(runs)]
    assert np.mean([f.low <= 0.0 for f in found]) >= 0.93
    assert np.mean([f.high >= 0.0 for f in found]) >= 0.93


def test_a_better_score_is_told_from_a_worse_one():
    found = auroc_difference(*correlated(np.random.default_rng(50), lift=0.6))
    assert found.low > 0.0


def test_the_same_score_twice_differs_by_nothing_yet_its_bounds_are_not_zero():
    first, _ = correlated(np.random.default_rng(51))
    found = auroc_difference(first, first)
    assert (found.value, found.p_value, found.p_greater) == (0.0, 1.0, 1.0)
    assert found.high == -found.low == pytest.approx(1 - 0.05 ** (1 / 150))  # 150 disjoint pairs, all ranked alike


def test_the_one_sided_p_value_is_below_the_significance_exactly_if_the_lower_bound_is_above_zero():
    for seed in range(20):
        found = auroc_difference(*correlated(np.random.default_rng([53, seed]), lift=0.15))
        assert (found.p_greater < 0.05) == (found.low > 0.0)


def test_scores_of_other_images_are_refused():
    first, _ = correlated(np.random.default_rng(52))
    with pytest.raises(UsageError, match="must score the same 200 members and 150 non-members, got 199 and 150"):
        auroc_difference(first, (first[0][1:], first[1]))
    with pytest.raises(InsufficientProbes):
        auroc_difference(([1.0], [0.0, 2.0]), ([1.0], [0.0, 3.0]))
