"""Reference numbers: scipy.stats.ttest_ind and permutation_test, called here."""

import numpy as np
import pytest
from scipy import stats

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import Verdict, decide
from pytest_diffprivacy.statistics.control_splits import control_splits
from pytest_diffprivacy.statistics.dataset_inference import (
    SplitLogits,
    combined_p_value,
    dataset_inference,
    images_needed,
)
from pytest_diffprivacy.statistics.mean_difference import PERMUTATIONS, PermutationShift, WelchShift


def logits(seed, *, shift=0.0, members=25, nonmembers=30, splits=1):
    rng = np.random.default_rng([31, seed])
    return [SplitLogits(rng.normal(shift, 1.5, members), rng.normal(0.0, 1.0, nonmembers)) for _ in range(splits)]


def welch(pair, moved=0.0):
    return stats.ttest_ind(
        np.asarray(pair.members) - moved, pair.nonmembers, equal_var=False, alternative="greater"
    ).pvalue


def spread(pair):
    return np.sqrt((np.var(pair.members, ddof=1) + np.var(pair.nonmembers, ddof=1)) / 2)


def test_one_split_has_the_p_value_of_welchs_one_sided_test():
    for seed in range(5):
        (pair,) = split = logits(seed, shift=0.5)
        found = dataset_inference(split, confidence=0.99, test="welch")
        assert found.p_value == pytest.approx(welch(pair), rel=1e-9)
        assert found.split_p_values == (found.p_value,)
        assert found.value == pytest.approx((np.mean(pair.members) - np.mean(pair.nonmembers)) / spread(pair))
        assert (found.members, found.nonmembers) == (25, 30)
        assert found.difference.value == pytest.approx(found.member_mean - found.nonmember_mean)


def test_one_split_bounds_the_difference_as_scipy_does():
    (pair,) = split = logits(1, shift=0.5)
    found = dataset_inference(split, confidence=0.95, test="welch")
    two_sided = stats.ttest_ind(pair.members, pair.nonmembers, equal_var=False).confidence_interval(0.9)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(two_sided), rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(two_sided / spread(pair)), rel=1e-9)


@pytest.mark.parametrize("combine", ["mean", "median"])
@pytest.mark.parametrize("splits", [1, 2, 5])
def test_the_lower_bound_is_the_effect_at_which_the_combined_p_value_is_the_significance(splits, combine):
    pairs = logits(splits, shift=0.7, splits=splits)
    found = dataset_inference(pairs, confidence=0.95, combine=combine, test="welch")
    at_bound = [welch(pair, found.low * spread(pair)) for pair in pairs]
    middle = np.mean(at_bound) if combine == "mean" else np.median(at_bound)
    assert (middle if splits == 1 else 2 * middle) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("test", ["welch", "permutation"])
@pytest.mark.parametrize("combine", ["mean", "median"])
def test_a_set_is_refuted_exactly_if_its_p_value_is_below_the_significance(test, combine):
    verdicts = set()
    for seed in range(12):
        for splits in (1, 3):
            pairs = logits(seed, shift=0.1 * seed, splits=splits)
            found = dataset_inference(pairs, confidence=0.95, test=test, combine=combine)
            verdict = decide(found, 0.0).verdict
            assert (verdict is Verdict.FAIL) == (found.p_value < 0.05)
            assert found.low <= found.value <= found.high
            verdicts.add(verdict)
    assert verdicts == {Verdict.FAIL, Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("test", ["welch", "permutation"])
def test_the_upper_bound_is_the_worst_of_the_splits_in_either_direction(test):
    pairs = [*logits(1, shift=0.3, splits=2), *logits(2, shift=-1.0, splits=1)]
    each = [dataset_inference([pair], confidence=0.95, test="welch") for pair in pairs]
    found = dataset_inference(pairs, confidence=0.95, test=test)
    assert found.high == pytest.approx(max(max(one.high, -one.low) for one in each), rel=0.05 if test != "welch" else 0)
    assert found.high > 0.8  # the reversed scorer sets them apart too


def test_no_sample_shows_that_an_effect_is_zero():
    rng = np.random.default_rng(33)
    for shift in (0.0, -2.0):
        pair = SplitLogits(rng.normal(shift, 1.0, 5_000), rng.normal(size=5_000))
        assert decide(dataset_inference([pair], confidence=0.99), 0.0).verdict is Verdict.INCONCLUSIVE


def test_a_margin_lets_a_large_null_sample_pass_and_a_small_one_not():
    large = dataset_inference(logits(3, members=800, nonmembers=800, splits=5), confidence=0.99)
    small = dataset_inference(logits(3, splits=5), confidence=0.99)
    assert decide(large, 0.3).verdict is Verdict.PASS
    assert decide(small, 0.3).verdict is Verdict.INCONCLUSIVE


def test_an_effect_that_is_real_but_below_the_margin_passes():
    pairs = logits(4, shift=0.3, members=3_000, nonmembers=3_000)
    found = dataset_inference(pairs, confidence=0.99)
    assert found.p_value == 1e-4  # the smallest of 9,999 permutations
    assert decide(found, 0.5).verdict is Verdict.PASS
    assert decide(found, 0.0).verdict is Verdict.FAIL


@pytest.mark.parametrize("effect", [0.0, 0.5])
@pytest.mark.slow
def test_the_bounds_miss_the_true_effect_as_rarely_as_promised(effect):
    rng, runs = np.random.default_rng([34, int(10 * effect)]), 800
    missed = np.zeros(2)
    for _ in range(runs):
        pair = SplitLogits(rng.normal(effect, 1.0, 60), rng.normal(0.0, 1.0, 60))
        found = dataset_inference([pair], confidence=0.95, test="welch")
        missed += found.low > effect, found.high < effect
    assert missed[0] / runs == pytest.approx(0.05, abs=0.024)  # three standard errors
    assert missed[1] / runs <= (0.0 if effect == 0 else 0.074)  # the size of an effect is never below 0


def test_permutations_agree_with_scipys():
    (pair,) = split = logits(5, shift=0.8, members=12, nonmembers=10)
    expected = stats.permutation_test(
        (pair.members, pair.nonmembers),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        alternative="greater",
        n_resamples=20_000,
        rng=np.random.default_rng(6),
    ).pvalue
    assert dataset_inference(split, confidence=0.95, test="permutation").p_value == pytest.approx(expected, abs=0.01)


def test_a_permutation_test_is_inverted_by_moving_the_members():
    (pair,) = logits(6, shift=0.8)
    members, nonmembers = np.asarray(pair.members), np.asarray(pair.nonmembers)
    at_once = PermutationShift.of(members, nonmembers, np.random.default_rng(7))
    for m in (-0.4, 0.1, 0.9):
        moved = PermutationShift.of(members - m, nonmembers, np.random.default_rng(7))
        assert at_once.p_above(m) == moved.p_above(0.0)
    assert at_once.p_above(at_once.lower(0.05) - 1e-9) <= 0.05 < at_once.p_above(at_once.lower(0.05) + 0.05)
    assert at_once.turning.size == PERMUTATIONS


def test_both_tests_bound_a_normal_sample_alike():
    (pair,) = logits(8, shift=0.5, members=200, nonmembers=200)
    members, nonmembers = np.asarray(pair.members), np.asarray(pair.nonmembers)
    permuted = PermutationShift.of(members, nonmembers, np.random.default_rng(1))
    student = WelchShift.of(members, nonmembers)
    assert permuted.lower(0.05) == pytest.approx(student.lower(0.05), abs=0.02)
    assert permuted.upper(0.05) == pytest.approx(student.upper(0.05), abs=0.02)


def test_logits_of_any_size_are_judged_alike():
    (pair,) = split = logits(9, shift=0.5)
    tiny = [SplitLogits(np.asarray(pair.members) * 1e-120, np.asarray(pair.nonmembers) * 1e-120)]
    huge = [SplitLogits(np.asarray(pair.members) * 1e120, np.asarray(pair.nonmembers) * 1e120)]
    found = dataset_inference(split, confidence=0.99, test="welch")
    for other in (tiny, huge):
        again = dataset_inference(other, confidence=0.99, test="welch")
        assert (again.p_value, again.low) == pytest.approx((found.p_value, found.low), rel=1e-9)


def test_several_p_values_cost_a_factor_of_two_and_one_does_not():
    assert combined_p_value([0.03]) == 0.03
    assert combined_p_value([0.01, 0.03]) == pytest.approx(0.04)
    assert combined_p_value([0.01, 0.02, 0.3], combine="median") == pytest.approx(0.04)
    assert combined_p_value([0.9, 0.7]) == 1.0


def test_splits_are_disjoint_and_use_every_image():
    for split in control_splits(41, 30, splits=4, seed=3):
        assert sorted([*split.member_control, *split.member_test]) == list(range(41))
        assert sorted([*split.nonmember_control, *split.nonmember_test]) == list(range(30))
        assert [len(split.member_control), len(split.nonmember_control)] == [20, 15]


def test_a_split_depends_on_the_seed_and_its_number_alone():
    two, four = control_splits(40, 40, splits=2, seed=3), control_splits(40, 40, splits=4, seed=3)
    np.testing.assert_array_equal(two[1].member_test, four[1].member_test)
    assert not np.array_equal(four[0].member_test, four[1].member_test)
    assert not np.array_equal(four[0].member_test, control_splits(40, 40, splits=1, seed=4)[0].member_test)


def test_planned_images_have_the_planned_power():
    images = images_needed(0.4, significance=0.01)
    normal = stats.norm.ppf([0.99, 0.8]).sum()
    assert images == int(np.ceil(2 * (normal / 0.4) ** 2))
    rng = np.random.default_rng(35)
    members, nonmembers = rng.normal(0.4, 1.0, (2_000, images)), rng.normal(size=(2_000, images))
    p = stats.ttest_ind(members, nonmembers, axis=1, equal_var=False, alternative="greater").pvalue
    assert np.mean(p < 0.01) == pytest.approx(0.8, abs=0.03)


def test_no_number_of_images_decides_an_effect_at_its_limit():
    assert images_needed(0.2, limit=0.2, significance=0.01) is None
    assert images_needed(0.0, limit=0.2, significance=0.01) == images_needed(0.2, significance=0.01)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dataset_inference([], confidence=0.99), UsageError, "at least one split"),
        (lambda: dataset_inference(logits(1), confidence=0.01), UsageError, "not the significance"),
        (lambda: dataset_inference(logits(1), confidence=0.9, test="t"), UsageError, "`test` must be 'welch'"),
        (lambda: dataset_inference(logits(1), confidence=0.9, combine="min"), UsageError, "one of mean, median"),
        (
            lambda: dataset_inference(logits(1), confidence=0.9999, test="permutation"),
            UsageError,
            "9999 permutations",
        ),
        (lambda: dataset_inference(logits(1, members=9), confidence=0.9), InsufficientProbes, "at least 10 of each"),
        (
            lambda: dataset_inference([SplitLogits(np.ones(20), np.zeros(20))], confidence=0.9),
            AuditError,
            "no error to compare it with",
        ),
        (
            lambda: dataset_inference([SplitLogits([np.nan] * 20, np.zeros(20))], confidence=0.9),
            UsageError,
            "`members` must be finite",
        ),
        (lambda: control_splits(19, 40, splits=1, seed=0), InsufficientProbes, "at least 20 of each are needed"),
        (lambda: control_splits(40, 40, splits=0, seed=0), UsageError, "`splits`"),
        (lambda: combined_p_value([0.1, 1.2]), UsageError, r"in \[0, 1\]"),
        (lambda: images_needed(0.1, significance=0.99), UsageError, "`significance` must be below 0.5"),
        (lambda: images_needed(0.1, limit=-1.0, significance=0.01), UsageError, "`limit` finite and >= 0"),
    ],
)
def test_what_cannot_be_judged_says_so(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_skewed_logits_of_few_images_beside_many_are_inferred_no_more_often_than_said():
    rng, runs, wrong = np.random.default_rng(35), 100, 0
    for _ in range(runs):
        pair = SplitLogits(rng.lognormal(sigma=1.5, size=10), rng.lognormal(sigma=1.5, size=100))
        wrong += dataset_inference([pair], confidence=0.99).low > 0.0
    assert wrong <= 4  # 1 expected; beyond 4 has probability 0.3 %
