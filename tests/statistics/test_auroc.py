import dataclasses

import numpy as np
import pytest
from scipy import special, stats

from pytest_diffprivacy.errors import AuditError, InsufficientProbes
from pytest_diffprivacy.statistics import auroc
from pytest_diffprivacy.statistics.statistic import recompute


@pytest.mark.parametrize("name", ["separated", "ties", "perfect", "null"])
def test_value_and_variance_agree_with_public_code(golden, name):
    found = auroc(golden["data"][name]["member"], golden["data"][name]["nonmember"])
    assert found.value == pytest.approx(golden["delong"][name]["auc"], abs=1e-12)
    assert found.variance == pytest.approx(golden["delong"][name]["variance"], abs=1e-12)


def naive_auroc(member, nonmember):
    """Compare every pair, as the definition says."""
    wins = [[(m > n) + 0.5 * (m == n) for n in nonmember] for m in member]
    v10, v01 = np.mean(wins, axis=1), np.mean(wins, axis=0)
    return np.mean(wins), np.var(v10, ddof=1) / len(member) + np.var(v01, ddof=1) / len(nonmember)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_value_and_variance_agree_with_comparing_every_pair(decimals):
    rng = np.random.default_rng(6)
    member, nonmember = rng.normal(0.7, 1, 57).round(decimals), rng.normal(0, 2, 83).round(decimals)
    found = auroc(member, nonmember)
    assert (found.value, found.variance) == pytest.approx(naive_auroc(member, nonmember), abs=1e-13)


def test_the_interval_is_delong_on_the_logit_scale():
    rng = np.random.default_rng(7)
    found = auroc(rng.normal(1, 1, 2_000), rng.normal(0, 1, 2_000))
    error = np.sqrt(found.variance) / (found.value * (1 - found.value))
    centre = special.logit(found.value)
    expected = special.expit([centre - 1.6449 * error, centre + 1.6449 * error])
    assert [found.low, found.high] == pytest.approx(expected, abs=1e-5)


def test_a_perfect_attack_on_thirty_images_has_no_perfect_bound():
    found = auroc(np.arange(30) + 100.0, np.arange(40))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.905, abs=5e-4)
    mirrored = auroc(np.arange(40), np.arange(30) + 100.0)
    assert (mirrored.value, mirrored.low) == (0.0, 0.0)
    assert mirrored.high == pytest.approx(1 - found.low, abs=1e-15)


def test_an_attack_that_errs_once_is_never_bounded_above_a_perfect_one():
    perfect, nearly = np.arange(30) + 100.0, np.arange(30) + 100.0
    nearly[0] = 28.5
    assert auroc(nearly, np.arange(30)).low <= auroc(perfect, np.arange(30)).low


def test_members_and_non_members_swapped_mirror_everything():
    rng = np.random.default_rng(8)
    a, b = rng.normal(1, 1, 40), rng.normal(0, 1, 60)
    one, other = auroc(a, b), auroc(b, a)
    assert one.value == pytest.approx(1 - other.value, abs=1e-14)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


def test_only_the_order_of_scores_matters():
    rng = np.random.default_rng(9)
    a, b = rng.normal(1, 1, 40), rng.normal(0, 1, 60)
    assert auroc(a, b) == auroc(np.exp(a), np.exp(b))


def test_an_attack_that_ranks_the_wrong_way_is_not_flipped():
    rng = np.random.default_rng(10)
    assert auroc(rng.normal(-1, 1, 100), rng.normal(0, 1, 100)).value < 0.35


def test_a_two_sided_interval_is_the_pair_of_sharper_one_sided_bounds():
    rng = np.random.default_rng(11)
    a, b = rng.normal(1, 1, 40), rng.normal(0, 1, 60)
    two, one = auroc(a, b, interval="two-sided"), auroc(a, b, confidence=0.975)
    assert dataclasses.replace(two, confidence=0.975, interval="one-sided") == pytest.approx(one)
    assert two.low < auroc(a, b).low < two.value < auroc(a, b).high < two.high


@pytest.mark.parametrize(("members", "nonmembers"), [(1, 50), (50, 1), (1, 1)])
def test_one_image_on_a_side_is_not_enough(members, nonmembers):
    with pytest.raises(InsufficientProbes, match="at least 2 of each are needed") as caught:
        auroc(np.arange(members), np.arange(nonmembers))
    assert caught.value.needed == 2


def test_an_attack_that_says_the_same_of_everyone_has_not_measured():
    with pytest.raises(AuditError, match="All 7 scores are equal"):
        auroc(np.ones(3), np.ones(4))


COVERED = [(20, 20), (50, 50), (300, 300), (5, 100), (100, 5), (10, 200)]


@pytest.mark.parametrize(("members", "nonmembers"), COVERED)
@pytest.mark.parametrize("truth", [0.5, 0.7, 0.9, 0.98])
@pytest.mark.slow
def test_each_bound_holds_with_its_confidence(members, nonmembers, truth):
    rng = np.random.default_rng([12, members, nonmembers, int(100 * truth)])
    shift, runs = np.sqrt(2) * stats.norm.ppf(truth), 6_000
    found = [auroc(rng.normal(shift, 1, members), rng.normal(0, 1, nonmembers)) for _ in range(runs)]
    # An approximation: over 20,000 runs it covers 94.2 % at its worst of these cases; the rest is chance.
    assert np.mean([f.low <= truth for f in found]) >= 0.935
    assert np.mean([f.high >= truth for f in found]) >= 0.935


@pytest.mark.parametrize(
    ("levels", "chances", "members", "others"),
    [
        ([0.0, 1.0], ([0.05, 0.95], [0.05, 0.95]), 20, 500),  # a flag that nothing moves: 36 % by DeLong's variance
        ([0.0, 1.0], ([0.9, 0.1], [0.999, 0.001]), 30, 500),
        ([0.0, 1.0, 2.0], ([0.2, 0.3, 0.5], [0.5, 0.3, 0.2]), 40, 40),
    ],
)
def test_bounds_of_tied_scores_hold(levels, chances, members, others):
    rng, wrong, runs = np.random.default_rng(8), np.zeros(2), 2000
    first, second = (list(zip(levels, side, strict=True)) for side in chances)
    truth = sum(a * b * ((x > y) + 0.5 * (x == y)) for x, a in first for y, b in second)
    for _ in range(runs):
        member, other = rng.choice(levels, members, p=chances[0]), rng.choice(levels, others, p=chances[1])
        if np.ptp(np.concatenate([member, other])) > 0.0:
            found = auroc(member, other)
            wrong += [found.low > truth, found.high < truth]
    assert (wrong / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)).all()


@pytest.mark.parametrize("size", [20, 50, 100])
def test_a_separation_that_one_pair_spoils_is_bounded_almost_as_a_perfect_one(size):
    members, others = np.arange(size) + size, np.arange(size, dtype=float)
    others[-1] = size + 0.5
    found = auroc(members, others)
    assert found.value == 1.0 - 1.0 / size**2
    assert 0.05 ** (1.0 / size) - 0.01 < found.low <= 0.05 ** (1.0 / size)
    mirrored = auroc(others, members)
    assert mirrored.high == pytest.approx(1.0 - found.low, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("members", "nonmembers", "truth"), [(20, 20, 0.98), (50, 50, 0.999), (10, 200, 0.99)])
def test_bounds_of_nearly_perfect_separations_hold(members, nonmembers, truth):
    rng, shift, runs = np.random.default_rng(3), np.sqrt(2) * stats.norm.ppf(truth), 2_000
    found = [auroc(rng.normal(shift, 1, members), rng.normal(0, 1, nonmembers)) for _ in range(runs)]
    assert np.mean([f.low > truth for f in found]) <= 0.05
    assert np.mean([f.high < truth for f in found]) <= 0.05


def test_a_record_of_before_is_judged_by_delongs_bounds():
    first, second = np.ones(20), np.repeat([0.0, 1.0], [25, 475])
    old = recompute("auroc", {"members": [first], "nonmembers": [second]}, {"confidence": 0.95})
    assert old == auroc(first, second, rule=1)
    assert old.low > 0.5 > auroc(first, second).low
