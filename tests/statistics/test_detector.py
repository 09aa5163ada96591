"""Detector-corrected rates: the closed form, bounds that hold by simulation, and the refusals."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import Detector, corrected_rate, rate

GOOD = Detector(detected=90, copies=100, false_alarms=10, others=200)


def test_the_value_is_rogan_and_gladens():
    found = corrected_rate(100, 400, GOOD)
    assert found.value == pytest.approx((0.25 - 0.05) / (0.9 + 0.95 - 1.0))
    assert found.low < found.value < found.high
    assert (found.observed, found.successes, found.trials, found.detector) == (0.25, 100, 400, GOOD)


@pytest.mark.parametrize(("successes", "value"), [(13, 0.0), (17, 0.0), (395, 1.0), (400, 1.0)])
def test_the_rate_is_clipped_and_its_interval_has_a_width(successes, value):
    found = corrected_rate(successes, 400, GOOD)
    assert found.value == value
    assert found.low < found.high


def test_with_a_perfect_detector_it_is_nearly_the_exact_interval():
    perfect = Detector(detected=100_000, copies=100_000, false_alarms=0, others=100_000)
    found, plain = corrected_rate(30, 200, perfect), rate(30, 200)
    assert found.value == pytest.approx(plain.value, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=2e-3)


def test_a_poor_sensitivity_raises_the_upper_bound():
    poor = Detector(detected=50, copies=100, false_alarms=0, others=200)
    assert corrected_rate(20, 400, poor).high > 1.8 * rate(20, 400).high


@pytest.mark.parametrize("truth", [0.0, 0.02, 0.3])
@pytest.mark.slow
def test_each_bound_holds_in_at_least_95_of_100_runs(truth):
    rng, runs = np.random.default_rng(int(1000 * truth)), 300
    sensitivity, specificity = 0.8, 0.97
    missed = [0, 0]
    for run in range(runs):
        detector = Detector(
            detected=int(rng.binomial(60, sensitivity)),
            copies=60,
            false_alarms=int(rng.binomial(150, 1 - specificity)),
            others=150,
        )
        observed = rng.binomial(500, truth * sensitivity + (1 - truth) * (1 - specificity))
        found = corrected_rate(int(observed), 500, detector, seed=run)
        missed[0] += found.low > truth
        missed[1] += found.high < truth
    assert max(missed) <= 0.05 * runs + 2.0 * (0.05 * 0.95 * runs) ** 0.5


def test_the_same_seed_gives_the_same_bounds():
    assert corrected_rate(9, 90, GOOD, seed=3) == corrected_rate(9, 90, GOOD, seed=3)


def test_too_few_labels_or_trials_are_refused():
    with pytest.raises(InsufficientProbes, match="Cannot correct a rate with 29 copies: at least 30") as caught:
        Detector(detected=20, copies=29, false_alarms=0, others=100)
    assert caught.value.needed == 30
    with pytest.raises(InsufficientProbes, match="with 29 others"):
        Detector(detected=20, copies=40, false_alarms=0, others=29)
    with pytest.raises(InsufficientProbes, match="with 10 trials"):
        corrected_rate(1, 10, GOOD)


def test_a_detector_that_tells_nothing_is_refused():
    with pytest.raises(AuditError, match=r"sensitivity 0.55 and specificity 0.5 hardly tell copies from others"):
        Detector(detected=55, copies=100, false_alarms=50, others=100)


def test_less_than_the_false_alarms_explain_is_an_error_and_no_pass():
    with pytest.raises(AuditError, match=r"reported 0 of 400, less than its false alarm rate of 0\.05 explains"):
        corrected_rate(0, 400, GOOD)
    assert corrected_rate(0, 30, GOOD).high == pytest.approx(1.0 - 0.05 ** (1 / 30))


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"`detected` must be at most `copies` \(100\), got 101"):
        Detector(detected=101, copies=100, false_alarms=0, others=100)
    with pytest.raises(UsageError, match="`false_alarms` must be a whole number"):
        Detector(detected=10, copies=100, false_alarms=-1, others=100)
    with pytest.raises(UsageError, match=r"`successes` must be at most `trials` \(40\), got 41"):
        corrected_rate(41, 40, GOOD)
