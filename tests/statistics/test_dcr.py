"""DCR share: METHODS' table of false alarms again, exact where records are not reused, and power on real copying."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import dcr_share, rate


def nearest(queries, records):
    squared = (queries**2).sum(1)[:, None] - 2.0 * queries @ records.T + (records**2).sum(1)
    return np.sqrt(squared.clip(min=0.0).min(1)), squared.argmin(1)


def share_of(generated, training, holdout, **more):
    to_training, own = nearest(generated, training)
    to_holdout, other = nearest(generated, holdout)
    return dcr_share(to_training, to_holdout, own, other, records=len(training), **more)


def null_runs(records, generations, dimension, runs, seed):
    rng = np.random.default_rng(seed)
    for run in range(runs):
        points = rng.normal(size=(2 * records + generations, dimension))
        training, holdout, generated = np.split(points, [records, 2 * records])
        yield share_of(generated, training, holdout, permutations=199, seed=run)


@pytest.mark.parametrize(
    ("generations", "dimension", "binomial", "permutation", "effective"),
    [(200, 2, 0.052, 0.050, 122), (200, 32, 0.118, 0.048, 82), (1000, 32, 0.250, 0.063, 119)],
)
def test_without_copying_the_binomial_test_rejects_too_often_and_the_permutation_does_not(
    generations, dimension, binomial, permutation, effective
):
    runs = 150
    found = list(null_runs(200, generations, dimension, runs, seed=generations + dimension))
    naive = [stats.binomtest(round(d.nearer), generations, alternative="greater").pvalue <= 0.05 for d in found]
    own = [d.p_value <= 0.05 for d in found]
    for rejected, expected in ((naive, binomial), (own, permutation)):
        # METHODS' figures come from 600 runs: both have Monte-Carlo error
        error = (expected * (1.0 - expected) * (1.0 / runs + 1.0 / 600.0)) ** 0.5
        assert abs(np.mean(rejected) - expected) < 3.0 * error
    assert np.mean([d.effective for d in found]) == pytest.approx(effective, rel=0.08)
    assert np.mean([d.low > 0.5 for d in found]) <= 0.05
    assert np.mean([d.high < 0.5 for d in found]) <= 0.05


def test_copies_of_training_images_are_noticed():
    rng = np.random.default_rng(1)
    training, holdout = rng.normal(size=(2, 200, 32))
    fresh, copied = rng.normal(size=(300, 32)), training[:100] + 0.05 * rng.normal(size=(100, 32))
    found = share_of(np.concatenate([fresh, copied]), training, holdout)
    assert found.p_value < 0.01
    assert 0.5 < found.low < found.value < found.high


def test_bounds_are_the_binomial_ones_where_no_record_is_reused():
    own, other = np.arange(40), np.arange(40)
    to_training = np.where(np.arange(40) < 25, 0.1, 0.9)
    found = dcr_share(to_training, np.full(40, 0.5), own, other, records=40)
    plain = rate(25, 40)
    assert found.effective == 40.0
    assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high), rel=1e-9)


def test_the_p_value_is_that_of_all_splits():
    """Five records a side, counts by hand: the permutation against every choice of 5 of 10 records."""
    own, other = np.array([0, 0, 0, 1, 2, 4, 4]), np.array([1, 1, 3, 3, 0, 0, 2])
    to_training = np.array([1.0, 1.0, 1.0, 1.0, 3.0, 1.0, 2.0])
    found = dcr_share(to_training, np.full(7, 2.0), own, other, records=5, permutations=99_999)
    owned = np.array([3.0, 1.0, 0.0, 0.0, 1.5, 1.0, 0.0, 0.5, 0.0, 0.0])
    assert found.nearer == 5.5
    assert found.effective == pytest.approx(49 / (owned**2).sum())
    sums = [owned[list(chosen)].sum() for chosen in combinations(range(10), 5)]
    assert found.p_value == pytest.approx(np.mean(np.array(sums) >= 5.5), abs=0.006)


def test_ties_count_one_half():
    found = dcr_share(np.ones(6), np.ones(6), np.arange(6), np.arange(6), records=6)
    assert found.value == 0.5
    assert found.low < 0.5 < found.high
    assert found.p_value > 0.3


def test_a_generator_that_returns_one_image_for_ever_counts_as_one_generation():
    found = dcr_share(np.zeros(500), np.ones(500), np.zeros(500, int), np.zeros(500, int), records=50)
    assert (found.value, found.effective) == (1.0, 1.0)
    assert found.low == pytest.approx(0.05)
    assert found.high == 1.0
    assert found.p_value == pytest.approx(0.5, abs=0.02)


def test_the_same_seed_gives_the_same_p_value():
    arguments = (np.r_[0.0, 0.0, 1.0], np.full(3, 0.5), np.arange(3), np.arange(3))
    once, again = (dcr_share(*arguments, records=3, seed=4) for _ in range(2))
    assert once == again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"training_distances": [0.1, np.nan]}, "`training_distances` must be finite"),
        ({"holdout_distances": [0.1]}, "`holdout_distances` must be one for each of 2 generations, got 1"),
        ({"nearest_training": [0, 3]}, "`nearest_training` must be between 0 and 2, got 0 to 3"),
        ({"nearest_holdout": [-1, 0]}, "`nearest_holdout` must be between 0 and 2, got -1 to 0"),
        ({"nearest_holdout": [0.0, 1.0]}, "`nearest_holdout` must be 2 whole numbers"),
        ({"records": 1}, "`records` must be a whole number of at least 2"),
        ({"permutations": 10}, "`permutations` must be a whole number of at least 99"),
        ({"confidence": 0.05}, "`confidence` must be above 0.5"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    given = {
        "training_distances": [0.1, 0.2],
        "holdout_distances": [0.2, 0.1],
        "nearest_training": [0, 1],
        "nearest_holdout": [0, 1],
        "records": 3,
    } | arguments
    names = ("training_distances", "holdout_distances", "nearest_training", "nearest_holdout")
    arrays = [given.pop(name) for name in names]
    with pytest.raises(UsageError, match=message):
        dcr_share(*arrays, **given)
