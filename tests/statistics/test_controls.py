import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics import halves_agree, planted_found
from pytest_diffprivacy.statistics.controls import LEAST, check_coherence, groups_agree


@pytest.mark.parametrize(("significance", "runs"), [(0.1, 2_000), (0.05, 2_000), (0.001, 4_000)])
@pytest.mark.parametrize("size", [40, 300])
@pytest.mark.slow
def test_halves_of_nonmembers_separate_as_often_as_the_significance_says(size, significance, runs):
    rng = np.random.default_rng([44, size])
    failed = np.mean(
        [not halves_agree(rng.gumbel(size=size), seed=i, significance=significance).held for i in range(runs)]
    )
    error = 3 * np.sqrt(significance * (1 - significance) / runs)
    assert failed <= significance + error
    assert failed >= significance - error or significance < 0.01


@pytest.mark.slow
def test_an_attack_that_finds_nothing_rarely_passes_for_one_that_works():
    rng = np.random.default_rng(45)
    found = [planted_found(rng.normal(size=50), rng.normal(size=50)).held for _ in range(4_000)]
    assert np.mean(found) <= 0.0025


def test_a_planted_leak_is_found_by_a_working_attack_of_ten_images():
    result = planted_found(np.arange(LEAST) + 100.0, np.arange(LEAST) + 0.0)
    assert result.held
    assert result.area.value == 1.0
    assert result.area.low == pytest.approx(0.05 ** (1 / LEAST))


@pytest.mark.parametrize("broken", ["constant", "flipped", "chance"])
def test_a_broken_attack_does_not_find_the_planted_leak(broken):
    planted, others = np.random.default_rng(46).normal(size=(2, 60))
    planted, others = {
        "constant": (np.zeros(60), np.zeros(60)),
        "flipped": (-planted - 3.0, -others),
        "chance": (planted, others),
    }[broken]
    assert not planted_found(planted, others).held


def test_equal_scores_of_all_nonmembers_do_not_separate():
    result = halves_agree(np.zeros(50), seed=0)
    assert result.held
    assert result.area is None


def test_too_few_images_are_refused():
    with pytest.raises(InsufficientProbes, match="at least 10 images a side, got 9"):
        planted_found(np.arange(9.0), np.arange(20.0))
    with pytest.raises(InsufficientProbes, match="at least 10 images a side, got 9"):
        halves_agree(np.arange(19.0), seed=0)


def test_a_reversed_attack_is_seen_at_every_separation():
    rng = np.random.default_rng(46)
    for shift in (1.0, 4.0, 6.0, 20.0):
        assert check_coherence(rng.normal(-shift, 1.4, 150), rng.normal(0.0, 1.4, 200)).ranked_last
    assert check_coherence(np.arange(5.0), np.arange(5.0) + 9.0).ranked_last
    assert not check_coherence(rng.normal(size=150), rng.normal(size=200)).ranked_last


def test_two_groups_of_which_no_order_is_beyond_chance_agree_on_nothing():
    with pytest.raises(InsufficientProbes, match="at least 10 images a side, got 6"):
        groups_agree(np.arange(6.0), np.arange(6.0) + 100.0)
    assert not groups_agree(np.arange(10.0), np.arange(10.0) + 100.0).held
