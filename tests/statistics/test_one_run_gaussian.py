import math

import numpy as np
import pytest
from scipy import optimize, stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import (
    correct_guesses,
    gaussian_canaries_needed,
    gaussian_epsilon,
    gaussian_mu,
    gaussian_one_run_epsilon,
    gaussian_one_run_p_value,
    one_run_epsilon,
)

DELTA = 1e-5


def test_where_all_are_guessed_it_is_a_binomial_test_of_the_best_guesser():
    found = gaussian_one_run_epsilon(1000, 1000, 690, delta=DELTA)

    def excess(mu):
        return stats.binomtest(690, 1000, stats.norm.cdf(mu / 2.0), alternative="greater").pvalue - 0.05

    assert found.mu == pytest.approx(optimize.brentq(excess, 0.1, 2.0), abs=1e-9)
    assert found.value == pytest.approx(gaussian_epsilon(found.mu, DELTA), abs=1e-12)
    assert found.low == found.high == found.value


@pytest.mark.parametrize(("m", "r", "mu"), [(60, 40, 1.0), (60, 10, 0.5), (30, 29, 2.0)])
def test_p_values_are_those_of_the_best_guesser_simulated(m, r, mu):
    """The naive twin: guess the r canaries with the largest |x - mu / 2|, 20,000 times."""
    rng = np.random.default_rng(40)
    coins = rng.random((20_000, m)) < 0.5
    x = rng.normal(size=coins.shape) + mu * coins - mu / 2.0
    first = np.argsort(-np.abs(x), axis=1)[:, :r]
    right = (np.take_along_axis(x, first, 1) > 0.0) == np.take_along_axis(coins, first, 1)
    counts = right.sum(axis=1)
    for v in np.quantile(counts, [0.1, 0.5, 0.9, 0.99]).astype(int):
        expected = float((counts >= v).mean())
        error = math.sqrt(max(expected * (1.0 - expected), 1e-4) / 20_000)
        found = gaussian_one_run_p_value(m, r, int(v), mu)
        assert expected - 4.0 * error <= found <= expected + 4.0 * error + 1.0 / 256.0


def test_the_bound_is_where_the_p_value_crosses_the_significance():
    found = gaussian_one_run_epsilon(1000, 600, 460, delta=DELTA)
    assert gaussian_one_run_p_value(1000, 600, 460, found.mu - 1e-6) < 0.05
    assert gaussian_one_run_p_value(1000, 600, 460, found.mu + 1e-6) > 0.05


def test_guessing_by_chance_proves_nothing():
    assert gaussian_one_run_epsilon(1000, 600, 300, delta=DELTA).value == 0.0
    assert gaussian_one_run_epsilon(1000, 600, 0, delta=DELTA).mu == 0.0


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 2.0, 4.0, 8.0, 50.0])
def test_the_mechanism_of_an_epsilon_has_that_epsilon(epsilon):
    assert gaussian_epsilon(gaussian_mu(epsilon, DELTA), DELTA) == pytest.approx(epsilon, abs=1e-9)


def test_as_many_right_guesses_as_are_needed_refute_a_claim_and_one_fewer_does_not():
    for epsilon in (1.0, 8.0):
        needed = gaussian_canaries_needed(epsilon, DELTA)
        assert gaussian_one_run_epsilon(needed, needed, needed, delta=DELTA).value > epsilon
        assert gaussian_one_run_epsilon(needed - 1, needed - 1, needed - 1, delta=DELTA).value <= epsilon


def test_no_way_of_guessing_beats_the_guesser_that_bounds_it():
    """Extremes of each run's own scores, the posterior, a neighbour's score: p-values are no smaller than uniform."""
    rng, mu, m, r = np.random.default_rng(41), 1.0, 60, 40
    coins = rng.random((2000, m)) < 0.5
    scores = rng.normal(size=coins.shape) + mu * coins
    ways = {"extremes": scores, "rounded": np.round(scores), "neighbour": np.roll(scores, 1, axis=1)}
    p_values = np.array([gaussian_one_run_p_value(m, r, v, mu) for v in range(r + 1)])
    for name, seen in ways.items():
        right = [correct_guesses(s, c, guess_in=r // 2, guess_out=r // 2) for s, c in zip(seen, coins, strict=True)]
        for level in (0.1, 0.05, 0.01):
            refuted = float((p_values[right] <= level).mean())
            assert refuted <= level + 3.0 * math.sqrt(level / 2000), (name, level)


@pytest.mark.slow
def test_the_bound_is_below_the_truth_and_above_half_of_it_where_the_assumption_holds():
    rng, m = np.random.default_rng(42), 1000
    for truth in (1.0, 8.0):
        mu, part = gaussian_mu(truth, DELTA), m // 3
        right = []
        for _ in range(400):
            coins = rng.random(m) < 0.5
            right.append(correct_guesses(rng.normal(size=m) + mu * coins, coins, guess_in=part, guess_out=part))
        refuted = np.array([gaussian_one_run_p_value(m, 2 * part, v, mu) <= 0.05 for v in right])
        assert refuted.mean() <= 0.05 + 3.0 * math.sqrt(0.05 * 0.95 / 400)
        usual = int(np.median(right))
        assert gaussian_one_run_epsilon(m, 2 * part, usual, delta=DELTA).value > 0.5 * truth
        assert one_run_epsilon(m, 2 * part, usual, delta=DELTA).value < 0.5 * truth


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="must hold, got 11, 10, 10"):
        gaussian_one_run_epsilon(10, 10, 11, delta=DELTA)
    with pytest.raises(UsageError, match="`delta` must be strictly between 0 and 1"):
        gaussian_one_run_epsilon(10, 10, 5, delta=0.0)
    with pytest.raises(UsageError, match="`epsilon` must be above 0 and at most"):
        gaussian_mu(0.0, DELTA)
    with pytest.raises(UsageError, match="`mu` must be between 0 and 36"):
        gaussian_one_run_p_value(10, 10, 5, -1.0)
