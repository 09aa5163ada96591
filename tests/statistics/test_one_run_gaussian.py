import json
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import (
    correct_guesses,
    gaussian_canaries_needed,
    gaussian_epsilon,
    gaussian_mu,
    one_run_epsilon,
    one_run_fdp,
)
from pytest_diffprivacy.statistics.one_run_gaussian import _refuted
from pytest_diffprivacy.statistics.statistic import recompute

DELTA = 1e-5
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "one_run_fdp.json").read_text())["fdp"]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: f"{c['correct']} of {c['guesses']} of {c['m']}")
def test_bounds_agree_with_the_reference(case):
    found = one_run_fdp(case["m"], case["guesses"], case["correct"], delta=case["delta"])
    assert found.mu == pytest.approx(case["formula_mu"], abs=1e-6)
    if case["formula_epsilon"] is None:  # no Gaussian curve has a finite epsilon at delta 0
        assert found.value == np.inf
    else:
        assert found.value == pytest.approx(case["formula_epsilon"], abs=1e-5)
    assert found.low == found.high == found.value


def test_guessing_by_chance_proves_nothing():
    assert one_run_fdp(1000, 600, 300, delta=DELTA).value == 0.0
    assert one_run_fdp(1000, 600, 0, delta=0.0).value == 0.0


def test_the_bound_rises_with_right_guesses():
    found = [one_run_fdp(200, 40, right, delta=DELTA).value for right in range(20, 41)]
    assert (np.diff(found) >= 0.0).all()
    assert found[-1] > one_run_epsilon(200, 40, 40, delta=DELTA).value


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 2.0, 4.0, 8.0, 50.0])
def test_the_mechanism_of_an_epsilon_has_that_epsilon(epsilon):
    assert gaussian_epsilon(gaussian_mu(epsilon, DELTA), DELTA) == pytest.approx(epsilon, abs=1e-9)


def test_as_many_right_guesses_as_are_needed_refute_a_claim_and_one_fewer_does_not():
    for epsilon in (1.0, 4.0):
        needed = gaussian_canaries_needed(epsilon, DELTA)
        assert one_run_fdp(needed, needed, needed, delta=DELTA).value > epsilon
        assert one_run_fdp(needed - 1, needed - 1, needed - 1, delta=DELTA).value <= epsilon
    assert gaussian_canaries_needed(200.0, DELTA) == 2**20  # at least


@pytest.mark.parametrize("shared", [False, True])
def test_a_true_mu_is_refuted_no_more_often_than_said_even_if_canaries_share_what_they_reveal(shared):
    """Shared: |x - mu / 2| is one number for all canaries, drawn apart from the coins; each is mu-GDP all the same."""
    rng, mu, m, r, runs = np.random.default_rng(41), 1.0, 100, 40, 2000
    refuted = np.array([_refuted(m, r, v, mu, 0.05) for v in range(r + 1)])
    wrong = 0
    for _ in range(runs):
        coins = rng.random(m) < 0.5
        noise = rng.normal(size=m)
        if shared:
            revealed = abs(noise[0] + mu / 2.0)
            right = rng.random(m) < 1.0 / (1.0 + np.exp(-mu * revealed))
            noise = np.where(right == coins, 1.0, -1.0) + 1e-3 * noise - mu * coins
        wrong += refuted[correct_guesses(noise + mu * coins, coins, guess_in=r // 2, guess_out=r // 2)]
    assert refuted.any()
    assert wrong / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_a_record_of_the_count_that_took_canaries_for_independent_is_refused():
    arrays = {"scores": [np.arange(20.0)], "included": [np.arange(20) > 9]}
    given = {"guess_in": 5, "guess_out": 5, "delta": DELTA, "confidence": 0.95}
    with pytest.raises(UsageError, match="refutes valid mechanisms"):
        recompute("one_run_gaussian", arrays, given)
    assert recompute("one_run_gaussian", arrays, given | {"rule": 2}) == one_run_fdp(20, 10, 10, delta=DELTA)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="must hold, got 11, 10, 10"):
        one_run_fdp(10, 10, 11, delta=DELTA)
    with pytest.raises(UsageError, match="`delta` must be"):
        one_run_fdp(10, 10, 5, delta=1.0)
    with pytest.raises(UsageError, match="`epsilon` must be above 0 and at most"):
        gaussian_mu(0.0, DELTA)
