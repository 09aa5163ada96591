import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import false_match_threshold


def naive_rank(n, x, significance):
    return max(k for k in range(1, n + 1) if stats.beta.sf(x, k, n + 1 - k) <= significance)


@pytest.mark.parametrize(("n", "x", "confidence"), [(59, 0.05, 0.95), (300, 0.05, 0.9), (1_000, 0.01, 0.95)])
def test_the_threshold_lies_just_below_the_ranked_distance(n, x, confidence):
    distances = np.random.default_rng(22).exponential(size=n)
    found = false_match_threshold(distances, max_false_match_rate=x, confidence=confidence, ceiling=99.0)
    ranked = np.sort(distances)[found.rank - 1]
    assert found.rank == naive_rank(n, x, 1 - confidence)
    assert found.threshold < ranked == np.nextafter(found.threshold, np.inf)
    assert (found.nulls, found.confidence, found.max_false_match_rate) == (n, confidence, x)
    assert not found.ceiling_decided


def test_distances_that_are_tied_with_the_bound_are_no_matches():
    distances = np.repeat([0.1, 0.2, 0.3], 100)
    found = false_match_threshold(distances, max_false_match_rate=0.4, ceiling=1.0)
    assert found.rank == naive_rank(300, 0.4, 0.05)
    assert np.count_nonzero(distances <= found.threshold) == 100


def test_the_ceiling_is_never_exceeded_and_is_named_when_it_decides():
    found = false_match_threshold(np.full(400, 0.8), max_false_match_rate=0.01, ceiling=0.15)
    assert (found.threshold, found.ceiling, found.ceiling_decided) == (0.15, 0.15, True)
    met = false_match_threshold(np.full(400, 0.15), max_false_match_rate=0.01, ceiling=0.15)
    assert met.threshold < 0.15
    assert not met.ceiling_decided


@pytest.mark.parametrize(("x", "needed"), [(0.05, 59), (0.01, 299), (0.001, 2_995)])
def test_too_few_null_distances_say_how_many_are_needed(x, needed):
    with pytest.raises(InsufficientProbes, match=f"at least {needed} are needed") as caught:
        false_match_threshold(np.ones(needed - 1), max_false_match_rate=x, ceiling=0.5)
    assert caught.value.needed == needed
    assert false_match_threshold(np.ones(needed), max_false_match_rate=x, ceiling=0.5).rank == 1


@pytest.mark.parametrize(("n", "x"), [(59, 0.05), (300, 0.05), (1_000, 0.01)])
def test_the_false_match_rate_is_bounded_with_the_promised_confidence(n, x):
    rng, runs = np.random.default_rng([23, n]), 4_000
    thresholds = [
        false_match_threshold(rng.exponential(size=n), max_false_match_rate=x, ceiling=99.0).threshold
        for _ in range(runs)
    ]
    held = np.mean(-np.expm1(-np.array(thresholds)) <= x)
    exact = stats.beta.cdf(x, naive_rank(n, x, 0.05), n + 1 - naive_rank(n, x, 0.05))
    assert exact >= 0.95
    assert held == pytest.approx(exact, abs=0.012)


def test_copies_among_the_null_images_are_refused():
    distances = np.concatenate((np.zeros(20), np.ones(380)))
    with pytest.raises(UsageError, match=r"got 20 of 400 equal to 0\. Remove duplicates"):
        false_match_threshold(distances, max_false_match_rate=0.01, ceiling=0.5)


@pytest.mark.parametrize("ceiling", [0.0, -1.0, np.inf, np.nan, "0.15"])
def test_a_ceiling_is_a_distance(ceiling):
    with pytest.raises(UsageError, match="`ceiling` must be finite and above 0"):
        false_match_threshold(np.ones(400), max_false_match_rate=0.01, ceiling=ceiling)


def test_similarities_are_not_taken_for_distances():
    with pytest.raises(UsageError, match=r"`null_distances` must be at least 0, got -0\.5"):
        false_match_threshold([-0.5, 0.2], max_false_match_rate=0.9, ceiling=1.0)
    with pytest.raises(UsageError, match="`max_false_match_rate` must be strictly between 0 and 1, got 0"):
        false_match_threshold([0.5, 0.2], max_false_match_rate=0, ceiling=1.0)
