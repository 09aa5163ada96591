"""Sequential tests: agreement with public code, validity at every look, and speed on known leaks."""

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import (
    SequentialTest,
    Verdict,
    auroc,
    decide,
    pair_order,
    pair_outcomes,
    sequential_mean,
)
from pytest_diffprivacy.statistics.sequential import betting_log_capital, mixture_log_capital

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sequential.json").read_text(encoding="utf-8"))
PROCESSES = ["betting", "mixture"]


def entries(kind):
    return [pytest.param(e, id=e["id"]) for e in GOLDEN["entries"] if e["id"].startswith(kind + "/")]


def stream(entry):
    return np.array(GOLDEN["data"][entry["inputs"]["data"]]["x"])


def coins(rate, count, *seed):
    return (np.random.default_rng([77, *seed]).random(count) < rate).astype(float)


@pytest.mark.parametrize("entry", entries("betting_e_process"))
def test_the_capital_is_that_of_public_code(entry):
    given, expected = entry["arguments"], entry["output"]
    capital = betting_log_capital(stream(entry), given["m"], given["alpha"])
    at = [capital[n - 1] for n in given["checkpoints_after_n_items"]]
    assert at == pytest.approx(expected["log_capital"], rel=1e-9, abs=1e-12)
    rich = np.flatnonzero(capital >= math.log(1 / given["alpha"]))
    assert (int(rich[0]) + 1 if rich.size else None) == expected["first_n_with_capital_ge_1_over_alpha"]


@pytest.mark.parametrize("entry", entries("betting_cs"))
def test_the_confidence_sequence_is_that_of_public_code(entry):
    given, expected = entry["arguments"], entry["output"]
    upper = np.minimum.accumulate(expected["one_sided_upper"])
    for place, n in enumerate(given["checkpoints_after_n_items"]):
        found = sequential_mean(stream(entry)[:n], confidence=1 - given["alpha"])
        assert found.low == pytest.approx(expected["one_sided_lower_running"][place], abs=0.002)
        assert found.high <= upper[place] + 0.002  # theirs is known at the checkpoints only, ours at every item


def naive_betting(values, mean, alpha):
    """METHODS 7.9, item by item."""
    capital, total, squares, variance, path = 1.0, 0.0, 0.0, 0.25, []
    for n, x in enumerate(values, start=1):
        bet = min(math.sqrt(2 * math.log(1 / alpha) / (variance * n * math.log(1 + n))), 0.5 / mean)
        capital *= 1 + bet * (x - mean)
        total += x
        mu = (0.5 + total) / (n + 1)
        squares += (x - mu) ** 2
        variance = (0.25 + squares) / (n + 1)
        path.append(capital)
    return path


def test_the_capital_is_that_of_the_item_by_item_recipe():
    values = np.random.default_rng(3).beta(0.4, 0.6, 80)
    for mean, alpha in [(0.02, 0.05), (0.3, 0.1), (0.9, 0.01)]:
        assert np.exp(betting_log_capital(values, mean, alpha)) == pytest.approx(naive_betting(values, mean, alpha))


def test_the_mixture_is_the_average_over_all_rates():
    values = coins(0.4, 25, 1)
    s, n = values.sum(), values.size

    def weighted(p):
        return p ** (s - 0.5) * (1 - p) ** (n - s - 0.5) / special.beta(0.5, 0.5)

    mixed = integrate.quad(weighted, 0, 1)[0]
    assert mixture_log_capital(values, 0.2, 0.05)[-1] == pytest.approx(
        math.log(mixed) - s * math.log(0.2) - (n - s) * math.log(0.8), rel=1e-6
    )
    assert mixture_log_capital(values, 0.9, 0.05)[-1] == -np.inf  # below 0.9: says nothing about "at most 0.9"


@pytest.mark.parametrize("process", PROCESSES)
def test_a_mean_at_the_limit_is_seldom_refuted_however_often_one_looks(process):
    verdicts = []
    for run in range(400):
        test = SequentialTest(0.3, process=process)
        if test.feed(coins(0.3, 800, 2, run)):
            verdicts.append(decide(test.measured(), 0.3).verdict)
    # 5 % of 400 and 2.5 standard errors; the rate itself is measured in tests/benchmarks/sequential.py.
    assert verdicts.count(Verdict.FAIL) <= 31
    assert verdicts.count(Verdict.PASS) <= 31


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.slow
def test_the_bounds_hold_at_all_times_together(process):
    missed = {"low": 0, "high": 0}
    for run in range(200):
        found = sequential_mean(coins(0.2, 600, 3, run), process=process)  # the running bounds: one miss stays a miss
        missed["low"] += found.low > 0.2
        missed["high"] += found.high < 0.2
    assert max(missed.values()) <= 10  # 5 % of 200


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(("rate", "limit", "verdict"), [(0.3, 0.01, "FAIL"), (0.2, 0.5, "PASS"), (0.5, 0.49, None)])
def test_it_stops_when_a_bound_has_passed_the_limit_and_decide_agrees(process, rate, limit, verdict):
    test = SequentialTest(limit, process=process)
    test.feed(coins(rate, 300, 4))
    decision = decide(test.measured(), limit).verdict
    assert test.decided is (verdict is not None)
    assert decision == (verdict or "INCONCLUSIVE")
    assert test.items < 100 if test.decided else test.items == 300
    before = coins(rate, 300, 4)[: test.items - 1]
    assert decide(sequential_mean(before, process=process), limit).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("process", PROCESSES)
def test_the_outcome_does_not_depend_on_how_many_items_come_at_a_time(process):
    values = coins(0.12, 400, 5)
    at_once, one_by_one = SequentialTest(0.05, process=process), SequentialTest(0.05, process=process)
    at_once.feed(values)
    for value in values:
        if one_by_one.feed([value]):
            break
    assert at_once.decided
    assert at_once.items < 400
    assert at_once.measured() == one_by_one.measured()
    assert at_once.feed([0.0])
    assert at_once.items == one_by_one.items


def test_a_rate_of_zero_can_be_shown_and_a_limit_of_zero_refuted():
    harmless, leaking = SequentialTest(0.01), SequentialTest(0.0)
    harmless.feed(np.zeros(1000))
    leaking.feed(np.full(50, 0.2))
    assert decide(harmless.measured(), 0.01).verdict is Verdict.PASS
    assert harmless.items == 595
    assert decide(leaking.measured(), 0.0).verdict is Verdict.FAIL


def test_leaks_are_found_as_fast_as_the_method_says():
    stops = []
    for run in range(200):
        test = SequentialTest(0.01)
        test.feed(coins(0.1, 600, 6, run))
        stops.append(test.items)
    assert np.median(stops) == pytest.approx(44, rel=0.2)  # METHODS 7.9
    assert np.quantile(stops, 0.9) == pytest.approx(89, rel=0.2)


def test_pairs_are_disjoint_fixed_by_the_seed_and_their_mean_outcome_is_the_auroc():
    order = pair_order(300, 200, seed=4)
    assert len(set(order.members)) == len(set(order.nonmembers)) == 200
    assert np.array_equal(order.members, pair_order(300, 200, seed=4).members)
    assert not np.array_equal(order.members, pair_order(300, 200, seed=5).members)
    rng = np.random.default_rng(8)
    areas, means = [], []
    for run in range(100):
        member, nonmember = rng.normal(0.8, 1, 300).round(1), rng.normal(0, 1, 200).round(1)
        order = pair_order(300, 200, seed=run)
        means.append(pair_outcomes(member[order.members], nonmember[order.nonmembers]).mean())
        areas.append(auroc(member, nonmember).value)
    assert np.mean(means) == pytest.approx(np.mean(areas), abs=0.01)
    assert pair_outcomes([1.0, 2.0, 0.0], [1.0, 1.0, 1.0]).tolist() == [0.5, 1.0, 0.0]


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(UsageError, match=r"in \[0, 1\], got 1.5 at index 1"):
        SequentialTest(0.1).feed([0.5, 1.5])
    with pytest.raises(UsageError, match=r"0 or 1 for 'mixture', got 0\.5"):
        SequentialTest(0.1, process="mixture").feed([1.0, 0.5])
    with pytest.raises(UsageError, match="`process` must be 'betting' or 'mixture', got 'luck'"):
        SequentialTest(0.1, process="luck")
    with pytest.raises(UsageError, match="non-empty"):
        SequentialTest(0.1).measured()
    with pytest.raises(UsageError, match="one for each of 2 members, got 1"):
        pair_outcomes([1.0, 2.0], [1.0])
    with pytest.raises(UsageError, match="`limit` must be at least 0"):
        SequentialTest(1.0)


def test_without_replacement_from_the_very_images_the_error_is_kept_at_every_look():
    """200 outcomes whose mean is the limit itself, in 2,000 random orders, looked at after every item."""
    rng, outcomes = np.random.default_rng(78), np.repeat([0.0, 1.0], 100)
    goal = math.log(1.0 / 0.05)
    wrong = [betting_log_capital(rng.permutation(outcomes), 0.5, 0.05).max() > goal for _ in range(2000)]
    assert np.mean(wrong) <= 0.05


def test_a_constant_bet_without_replacement_has_no_more_capital_than_it_started_with():
    """Maclaurin's inequality, by all orders of six items."""
    items, bet = np.array([0.0, 0.1, 0.4, 0.6, 0.9, 1.0]), 0.8
    growth = 1.0 + bet * (np.array(list(permutations(items))) - items.mean())
    expected = np.cumprod(growth, axis=1).mean(axis=0)
    assert (expected <= 1.0 + 1e-12).all()
    assert expected[-1] < 0.9
