"""Looks that share one significance: where they are, what they spend, how often they are wrong, and what they save."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.statistics import auroc
from pytest_diffprivacy.statistics.group_sequential import (
    GroupSequentialAurocStatistic,
    _boundaries,
    base_pairs,
    group_sequential_auroc,
    looks,
)


def test_boundaries_are_those_of_lan_and_demets() -> None:
    """Four equal looks, O'Brien and Fleming's spending: the published 3.741, 2.535, 2.014, 1.718 to a hundredth."""
    spent = [2.0 * special.ndtr(-1.959964 / np.sqrt(t)) for t in (0.25, 0.5, 0.75, 1.0)]
    assert _boundaries([25, 50, 75, 100], spent) == pytest.approx([3.741, 2.535, 2.014, 1.718], abs=0.01)
    assert _boundaries([40], [0.05]) == pytest.approx([1.6449], abs=1e-4)


def test_the_chance_to_be_beyond_some_boundary_is_the_significance() -> None:
    found, stream = looks(400, 140), np.random.default_rng(1)
    sizes = np.array([look.pairs for look in found])
    steps = stream.normal(size=(100_000, len(sizes))) * np.sqrt(np.diff(sizes, prepend=0))
    beyond = steps.cumsum(1) / np.sqrt(sizes) > -special.ndtri([look.significance for look in found])
    assert beyond.any(1).mean() == pytest.approx(0.05, abs=0.002)
    assert beyond[:, :5].any(1).mean() == pytest.approx(0.04, abs=0.002)


def test_looks_end_with_all_pairs_and_do_not_depend_on_scores() -> None:
    assert [look.pairs for look in looks(400, 140)] == [28, 56, 84, 112, 140, 196, 275, 400]
    assert [look.pairs for look in looks(150, 140)] == [30, 60, 90, 120, 150]
    assert [(look.pairs, round(look.significance, 12)) for look in looks(9, 140)] == [(9, 0.05)]
    assert base_pairs(0.5, 300) == 300
    assert 130 < base_pairs(0.6, 300) < 160


def stopped(given: GroupSequentialAurocStatistic, limit: float, members: np.ndarray, others: np.ndarray) -> int:
    """After how many of each it decides; 0: never."""
    for look in given.looks:
        if given.decided({"members": [members[: look.pairs]], "nonmembers": [others[: look.pairs]]}, limit):
            return look.pairs
    return 0


def test_bounds_only_narrow_and_the_last_ones_are_no_narrower_than_those_of_one_look() -> None:
    stream = np.random.default_rng(2)
    given = group_sequential_auroc(0.6, 150)
    arrays = {"members": [stream.normal(0.3, 1.0, 150)], "nonmembers": [stream.normal(size=150)]}
    found, once = given.trajectory(arrays), auroc(arrays["members"][0], arrays["nonmembers"][0])
    assert [one.low for one in found] == sorted(one.low for one in found)
    assert [one.high for one in found] == sorted((one.high for one in found), reverse=True)
    assert given.measure(arrays).value == once.value
    assert 0.0 < (given.p_value(arrays, 0.5) or 0.0) < 0.05 < (given.p_value(arrays, 0.7) or 0.0)


def test_scores_that_are_equal_so_far_decide_nothing_and_equal_ones_at_the_end_are_an_error() -> None:
    given, equal = group_sequential_auroc(0.6, 150), np.zeros(150)
    rare = equal.copy()
    rare[100:] = 1.0
    first = given.looks[0].pairs
    assert not given.decided({"members": [equal[:first]], "nonmembers": [equal[:first]]}, 0.6)
    assert given.measure({"members": [rare], "nonmembers": [equal]}).value > 0.6
    with pytest.raises(AuditError, match="All 300 scores are equal"):
        given.measure({"members": [equal], "nonmembers": [equal]})


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_at_the_limit_either_verdict_is_wrong_in_at_most_one_run_of_twenty(spread: float) -> None:
    """300 runs; `time_to_verdict` takes 2,000 a case."""
    limit, runs, stream = 0.6, 300, np.random.default_rng(3)
    shift, given = np.hypot(1.0, spread) * special.ndtri(limit), group_sequential_auroc(limit, 150)
    verdicts = [
        stopped(given, limit, spread * stream.normal(size=150) + shift, stream.normal(size=150)) for _ in range(runs)
    ]
    assert np.count_nonzero(verdicts) <= 0.1 * runs + 2.0 * (runs * 0.1 * 0.9) ** 0.5  # both sides together


def test_a_model_without_a_leak_passes_with_fewer_probes_than_one_look_needs() -> None:
    given, stream, runs = group_sequential_auroc(0.6, 160), np.random.default_rng(4), 200
    after = np.array([stopped(given, 0.6, *stream.normal(size=(2, 160))) for _ in range(runs)])
    assert (after > 0).mean() > 0.85
    assert after[after > 0].mean() < given.base / 1.25
