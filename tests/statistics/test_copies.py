from dataclasses import replace

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import binomial_lower, binomial_upper, copy_rate, is_copy, running_copy_rate
from pytest_diffprivacy.statistics.copies import CopyRateStatistic


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


IMAGES = 300


def stored(matched: np.ndarray, image: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Generations that match one of 600 images, the first half of which are members, the others unseen."""
    member, unseen = matched & (image < IMAGES), matched & (image >= IMAGES)
    distances = {"l2": member, "adaptive": member, "control_l2": unseen, "control_adaptive": unseen}
    arrays = {role: np.where(near, 0.01, 1.0) for role, near in distances.items()}
    arrays |= {"nearest": image % IMAGES, "control_nearest": image % IMAGES, "compared": np.arange(IMAGES)}
    return {role: [array] for role, array in (arrays | {"null": np.linspace(0.5, 1.0, 300)}).items()}


def test_one_popular_image_is_the_luck_of_the_split_and_no_leak() -> None:
    """Nothing was learned; 3 % of the generations match an image, three in ten of them the popular one."""
    rng, runs = np.random.default_rng(6), 2000
    rule = {"delta": 0.1, "max_false_match_rate": 0.05, "ceiling": 0.4, "confidence": 0.95}
    wrong = np.zeros(2)
    for _ in range(runs):
        popular = rng.integers(2 * IMAGES)
        image = np.where(rng.random(1000) < 0.3, popular, rng.integers(2 * IMAGES, size=1000))
        arrays = stored(rng.random(1000) < 0.03, image)
        wrong += [CopyRateStatistic(**rule, rule=rule_).measure(arrays).low > 0.001 for rule_ in (1, 2)]
    assert wrong[1] / runs <= 0.05
    assert wrong[1] < wrong[0]


def test_copies_of_many_images_of_two_and_of_one_are_a_leak_where_no_unseen_image_is_matched() -> None:
    given = CopyRateStatistic(delta=0.1, max_false_match_rate=0.05, ceiling=0.4, confidence=0.95)
    many = stored(np.arange(1000) < 300, np.arange(1000) % IMAGES)
    assert given.measure(many).low > 0.2
    assert (given.p_value(many, 0.01) or 0.0) < 0.001
    one = stored(np.arange(1000) < 300, np.zeros(1000, dtype=int))
    two = stored(np.arange(1000) < 300, np.arange(1000) % 2)
    assert given.measure(one).low > 0.2
    assert given.measure(two).low > 0.2
    beside = stored(np.arange(1000) < 300, np.where(np.arange(1000) == 0, IMAGES, np.arange(1000) % 2))
    for judge, arrays in ((replace(given, rule=3), two), (given, beside)):
        found = judge.measure(arrays)
        assert found.low == 0.0
        assert "the copies are of so few images" in judge.needed(arrays, found, 0.01)
        assert (judge.p_value(arrays, 0.01) or 0.0) == pytest.approx(0.25, abs=0.02)
