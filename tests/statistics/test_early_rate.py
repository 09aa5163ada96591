"""Bounds that hold at every look: when they pass, how they fall, and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.early_plan import items_needed, look_sizes, passes_after, share_at_zero
from pytest_diffprivacy.statistics.early_rate import (
    BETS,
    clean_log_capital,
    early_rate,
    early_rates,
    excess_log_capital,
)

GOAL = -np.log(0.05)


@pytest.mark.parametrize(("limit", "items"), [(0.05, 68), (0.01, 343), (0.001, 3440)])
def test_a_rate_without_a_hit_passes_after_as_many_items_as_specified(limit: float, items: int) -> None:
    none = np.zeros(items, dtype=bool)
    assert passes_after(0, limit) == items
    assert early_rate(none, none).high <= limit < early_rate(none[1:], none[1:]).high
    assert items in look_sizes(limit, 4096)


def test_the_capital_is_that_of_a_mixture_and_fair_at_its_rate() -> None:
    """Against the plain sum over rates, and over all outcomes of a few items."""
    rates = (np.arange(20_000) + 0.5) / 20_000 * 0.1
    plain = np.mean(rates**2 * (1 - rates) ** 48) / (0.1**2 * 0.9**48) / 2.0
    assert clean_log_capital(2, 50, 0.1) == pytest.approx(np.log(plain), rel=1e-6)
    hits, n = np.arange(7), 6
    ways = np.array([1, 6, 15, 20, 15, 6, 1])
    for truth in (0.2, 0.3, 0.8):
        mean = float(np.sum(ways * truth**hits * (1 - truth) ** (n - hits) * np.exp(clean_log_capital(hits, n, 0.2))))
        assert mean == pytest.approx(1.0) if truth == 0.2 else mean < 1.0


def test_bets_on_copies_less_false_matches_are_fair_whatever_the_share_of_false_matches() -> None:
    mean = 0.05
    for below in (0.0, 0.1, 0.4):
        above = below + mean
        gains = [float(np.exp(excess_log_capital([u], [d], 1, mean)[0])) for u, d in ((1, 0), (0, 1), (0, 0))]
        assert np.dot([above, below, 1 - above - below], gains) == pytest.approx(1.0)
        assert min(gains) > 0.0
    assert len(BETS) == 9


@pytest.mark.parametrize("control", [True, False])
def test_bounds_of_later_looks_lie_inside_those_of_earlier_ones_and_around_the_rate(control: bool) -> None:
    hits = np.random.default_rng(1).random(900) < 0.1
    looks = [50, 100, 300, 301, 900]
    found = early_rates(hits, hits.astype(int), looks, controlled=control)
    for one in found:
        assert one.low <= one.value <= one.high
        (alone,) = early_rates(hits[: one.items], hits[: one.items].astype(int), [one.items], controlled=control)
        assert (one.low, one.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert 0.05 < found[-1].low < 0.1 < found[-1].high < 0.15


def test_a_budget_too_small_for_the_mixture_bets_all_on_no_hit() -> None:
    assert [share_at_zero(0.01, budget) for budget in (299, 342, 343, 4096)] == [1.0, 1.0, 0.5, 0.5]
    assert passes_after(0, 0.01, at_zero=1.0) == 299
    assert passes_after(0, 0.0) is None


def test_looks_grow_by_half_and_the_last_is_the_budget() -> None:
    sizes = look_sizes(0.001, 4096)
    assert sizes[:4] == [64, 96, 144, 216]
    assert sizes[-2:] == [3440, 4096]
    assert look_sizes(0.01, 50) == [50]
    assert look_sizes(0.0, 100) == [64, 96, 100]


@pytest.mark.parametrize(("rate", "false"), [(0.0, 0.0), (0.001, 0.0), (0.03, 0.0), (0.1, 0.02)])
def test_the_planned_number_decides_as_often_as_it_says(rate: float, false: float) -> None:
    planned, runs, stream = items_needed(rate, false, 0.01), 300, np.random.default_rng(3)
    assert planned is not None
    decided = 0
    for _ in range(runs):
        drawn = stream.random(planned)
        n, above, below = np.arange(1, planned + 1), np.cumsum(drawn < rate), np.cumsum(drawn > 1.0 - false)
        capital = clean_log_capital(above, n, 0.01) if rate <= 0.01 else excess_log_capital(above, below, n, 0.01)
        decided += bool((capital > GOAL).any())
    assert decided / runs >= 0.87  # 0.9 less two standard errors


@pytest.mark.parametrize("false", [0.0, 0.05])
def test_either_verdict_is_wrong_in_at_most_one_stream_of_twenty(false: float) -> None:
    """1,000 streams at the limit, looked at after every item up to 1,500; `time_to_verdict` takes more."""
    stream, limit, runs, n = np.random.default_rng(4), 0.01, 1000, np.arange(1, 1501)
    passed = failed = 0
    for _ in range(runs):
        drawn = stream.random(n.size)
        above, below = np.cumsum(drawn < limit + false), np.cumsum(drawn > 1.0 - false)
        passed += bool((clean_log_capital(above, n, limit + false) > GOAL).any())
        failed += bool((excess_log_capital(above, below, n, limit) > GOAL).any())
    assert max(passed, failed) <= 0.05 * runs + 2.0 * (runs * 0.05 * 0.95) ** 0.5
    assert passed > 0.02 * runs  # the bound is used, not idle


def test_what_does_not_fit_is_refused() -> None:
    hits = np.zeros(10, dtype=bool)
    with pytest.raises(UsageError, match=r"and as long as its control, got \(10,\) and \(9,\)"):
        early_rate(hits, hits[1:])
    with pytest.raises(UsageError, match="`looks` must rise from 1 to 10 at most, got"):
        early_rates(hits, hits, [5, 5])
