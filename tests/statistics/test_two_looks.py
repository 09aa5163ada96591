"""Two looks at a TPR: where the first is, what it saves, and that its bounds are those of its share."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import tpr_at_fpr
from pytest_diffprivacy.statistics.two_looks import clean_chance, two_looks_tpr

GIVEN = {"max_fpr": 0.01, "limit": 0.05}


def scores(shift: float, count: int = 900, seed: int = 1) -> dict[str, list[np.ndarray]]:
    stream = np.random.default_rng(seed)
    return {"members": [stream.normal(shift, 1.0, count)], "nonmembers": [stream.normal(size=count)]}


def first(arrays: dict[str, list[np.ndarray]], count: int) -> dict[str, list[np.ndarray]]:
    return {role: [array[:count]] for role, (array,) in arrays.items()}


def test_looks_share_the_significance_and_are_taken_only_where_they_save_something() -> None:
    half, whole = two_looks_tpr(900, 900, **GIVEN).looks
    assert (half.members, half.nonmembers, whole.members) == (450, 450, 900)
    assert (half.significance, whole.significance) == pytest.approx((0.02, 0.03))
    assert clean_chance(half, 0.01, 0.05) > 0.6
    (once,) = two_looks_tpr(300, 300, **GIVEN).looks
    assert (once.members, once.significance) == (300, pytest.approx(0.05))
    assert two_looks_tpr(2_000, 2_000, **GIVEN).looks[0].members == 600


def test_each_looks_bounds_are_those_of_its_share_and_the_narrowest_count() -> None:
    given, arrays = two_looks_tpr(900, 900, **GIVEN), scores(1.5)
    half, whole = given.trajectory(arrays)
    alone = tpr_at_fpr(arrays["members"][0][:450], arrays["nonmembers"][0][:450], confidence=0.98, **GIVEN)
    assert (half.low, half.high) == (alone.low, alone.high)
    assert half.low <= whole.low <= whole.value <= whole.high <= half.high
    assert given.measure(first(arrays, 450)) == half
    assert 0.0 < (given.p_value(arrays, 0.05) or 1.0) < 0.05


def test_a_plain_case_is_decided_at_the_first_look_and_an_open_one_is_not() -> None:
    given = two_looks_tpr(900, 900, **GIVEN)
    assert given.decided(first(scores(2.5), 450))
    assert not given.decided(first(scores(0.75), 450))
    with pytest.raises(UsageError, match=r"no look after 449 members and .* has: 450 and 450"):
        given.measure(first(scores(2.5), 449))


def test_too_few_non_members_allow_no_fail_as_at_one_look() -> None:
    given = two_looks_tpr(900, 200, **GIVEN)
    assert given.part == 0.0
    assert given.measure({"members": scores(3.0)["members"], "nonmembers": scores(0.0, 200)["nonmembers"]}).low == 0.0
