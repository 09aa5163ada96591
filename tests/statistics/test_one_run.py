import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import correct_guesses, one_run_epsilon, one_run_p_value

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "epsilon.json").read_text(encoding="utf-8"))


def entries(prefix):
    return [entry for entry in GOLDEN["entries"] if entry["id"].startswith(prefix + "/")]


def test_p_values_and_bounds_equal_the_public_code():
    for entry in entries("one_run"):
        given, expected = entry["arguments"], entry["output"]
        counts = given["m"], given["n_guess"], given["n_correct"]
        found = [one_run_p_value(*counts, eps, given["delta"]) for eps in given["eps_grid"]]
        assert found == pytest.approx(expected["p_value"], abs=1e-10)
        bound = one_run_epsilon(*counts, delta=given["delta"], confidence=1.0 - given["significance"])
        assert bound.value == pytest.approx(expected["epsilon_lower"], abs=5e-6)  # its root finder stops at 1e-6


def test_guesses_by_a_threshold_equal_the_public_code():
    for entry in entries("epsilon_one_run"):
        data, given = GOLDEN["data"][entry["inputs"]["data"]], entry["arguments"]
        member, nonmember = np.array(data["member"]), np.array(data["nonmember"])
        for i, threshold in enumerate(given["explicit_thresholds"]):
            hits, alarms = int((member >= threshold).sum()), int((nonmember >= threshold).sum())
            bound = one_run_epsilon(member.size + nonmember.size, hits + alarms, hits, delta=given["delta"])
            assert bound.value == pytest.approx(entry["output"][f"explicit_{i}"], abs=5e-6)


@pytest.mark.parametrize(
    ("guesses", "printed"),
    [(10, 1.05), (20, 1.82), (50, 2.79), (100, 3.49), (200, 4.19), (500, 5.11), (1000, 5.81), (5000, 7.42)],
)
def test_all_guesses_right_prove_the_printed_table(guesses, printed):
    found = one_run_epsilon(guesses, guesses, guesses).value
    assert found == pytest.approx(printed, abs=0.006)  # 2.7847 is printed as 2.79
    assert found == pytest.approx(special.logit(0.05 ** (1 / guesses)), abs=1e-9)


@pytest.mark.parametrize(("correct", "printed"), [(600, 0.30), (700, 0.73), (800, 1.25), (900, 2.02)])
def test_a_thousand_guesses_prove_the_printed_table(correct, printed):
    assert one_run_epsilon(1000, 1000, correct).value == pytest.approx(printed, abs=0.005)


def test_the_bound_is_where_the_p_value_crosses_the_significance():
    bound = one_run_epsilon(1000, 300, 260, delta=1e-5)
    assert one_run_p_value(1000, 300, 260, bound.value - 1e-9, 1e-5) < 0.05
    assert one_run_p_value(1000, 300, 260, bound.value + 1e-9, 1e-5) > 0.05


def test_without_delta_the_p_value_is_a_binomial_test():
    for correct in range(21):
        expected = stats.binomtest(correct, 20, 1 / (1 + np.exp(-0.7)), alternative="greater").pvalue
        assert one_run_p_value(40, 20, correct, 0.7) == pytest.approx(expected, abs=1e-12)


def test_more_canaries_or_a_larger_delta_never_prove_more():
    bounds = [one_run_epsilon(m, 100, 90, delta=1e-4).value for m in (100, 1_000, 10_000)]
    assert bounds == sorted(bounds, reverse=True)
    bounds = [one_run_epsilon(1_000, 100, 90, delta=delta).value for delta in (0.0, 1e-5, 1e-3)]
    assert bounds == sorted(bounds, reverse=True)


def test_randomized_response_is_bounded_below_its_epsilon_nearly_always():
    """The bit of each canary is released with probability e^eps / (1 + e^eps): the theorem holds with equality."""
    rng, epsilon = np.random.default_rng(33), 1.0
    keep = 1 / (1 + np.exp(-epsilon))
    correct, which = np.unique(rng.binomial(500, keep, 2_000), return_inverse=True)
    found = np.array([one_run_epsilon(500, 500, int(k)).value for k in correct])[which]
    assert np.mean(found <= epsilon) >= 0.95
    assert np.mean(found > 0.5 * epsilon) > 0.9


def test_guesses_are_the_highest_in_and_the_lowest_out():
    scores, coins = [5.0, 1.0, 4.0, 2.0, 3.0], np.array([True, False, False, True, True])
    assert correct_guesses(scores, coins, guess_in=1, guess_out=0) == 1
    assert correct_guesses(scores, coins, guess_in=2, guess_out=2) == 2  # 5 in, not 4; not 2 out, 1 out
    assert correct_guesses(scores, coins, guess_in=0, guess_out=5) == 2


@pytest.mark.parametrize(
    ("coins", "top", "bottom", "message"),
    [
        ([1, 0, 1], 1, 1, "`included` must be 3 booleans"),
        (np.ones(2, dtype=bool), 1, 1, "`included` must be 3 booleans"),
        (np.ones(3, dtype=bool), 2, 2, "must be between 1 and 3, got 2 \\+ 2"),
        (np.ones(3, dtype=bool), 0, 0, "must be between 1 and 3, got 0 \\+ 0"),
    ],
)
def test_guesses_that_do_not_fit_the_canaries_are_refused(coins, top, bottom, message):
    with pytest.raises(UsageError, match=message):
        correct_guesses([1.0, 2.0, 3.0], coins, guess_in=top, guess_out=bottom)


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="must hold, got 5, 4, 10"):
        one_run_epsilon(10, 4, 5)
    with pytest.raises(UsageError, match="`epsilon` must be finite"):
        one_run_p_value(10, 4, 4, float("inf"))
