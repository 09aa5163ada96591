"""Before and after on the same prompts: closed cases, coverage over prompts, and what is undefined."""

import math

import numpy as np
import pytest

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import mean_change, mean_over_prompts, relative_loss, share_left
from pytest_diffprivacy.statistics.statistic import recompute


def clustered(rng, prompts, images, before, after):
    """Prompts that differ in how often they copy, and images that copy at their prompt's rate."""
    own = rng.beta(2.0, 2.0 * (1 - before) / before, prompts)
    left = after / before
    return rng.random((prompts, images)) < own[:, None], rng.random((prompts, images)) < left * own[:, None]


def test_the_share_left_is_the_ratio_of_means():
    before, after = (
        np.array([[1, 1], [1, 0], [1, 1], [0, 0], [1, 1]]),
        np.array([[1, 0], [0, 0], [0, 0], [0, 0], [1, 0]]),
    )
    found = share_left(before, after)
    assert (found.before, found.after, found.value) == pytest.approx((0.7, 0.2, 0.2 / 0.7))
    assert found.low <= found.value <= found.high
    assert found.prompts == 5
    assert share_left(before.mean(1), after.mean(1)) == found


def test_images_of_one_prompt_do_not_narrow_the_bounds():
    rng = np.random.default_rng(1)
    before = np.repeat(rng.random(40) < 0.6, 50).reshape(40, 50)
    after = np.repeat(rng.random(40) < 0.3, 50).reshape(40, 50)
    many, one = share_left(before, after), share_left(before[:, :1], after[:, :1])
    assert (many.low, many.high) == (one.low, one.high)


def test_the_bounds_miss_the_true_ratio_no_more_often_than_they_say():
    rng = np.random.default_rng(2)
    runs = [share_left(*clustered(rng, 60, 4, 0.6, 0.3), confidence=0.9, seed=i) for i in range(200)]
    above, below = np.mean([r.low > 0.5 for r in runs]), np.mean([r.high < 0.5 for r in runs])
    assert 0.02 < above < 0.15
    assert 0.02 < below < 0.15


def test_few_skewed_prompts_pass_no_limit_just_below_the_truth():
    """A tenth of the prompts keeps everything, or all keep a tenth on average; alignment is lost by one in sixteen."""
    prompts, runs = 20, 2000
    rng, before = np.random.default_rng(3), np.ones(prompts)
    passed = np.zeros(3)
    for i in range(runs):
        whole, skewed = rng.random(prompts) < 0.1, rng.binomial(4, rng.beta(0.3, 2.7, prompts)) / 4
        fits = rng.normal(0.3, 0.03, prompts)
        passed += [
            share_left(before, whole, seed=i).high < 0.1,
            share_left(before, skewed, seed=i).high < 0.1,
            relative_loss(fits, np.where(rng.random(prompts) < 0.06, 0.0, fits), seed=i).high < 0.06,
        ]
    assert (passed / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)).all()


def test_the_rule_of_older_records_is_the_bootstrap():
    rng = np.random.default_rng(6)
    before, after = np.ones(20), (rng.random(20) < 0.2).astype(float)
    old, new = share_left(before, after, rule=1), share_left(before, after)
    assert old.high < new.high
    assert recompute("share_left", {"before": [before], "after": [after]}, {"confidence": 0.95, "seed": 0}) == old
    with pytest.raises(UsageError, match="`rule` must be 1 or 2"):
        share_left(before, after, rule=3)


def test_no_copies_left_are_no_proof_that_there_never_are_any():
    found = share_left(np.ones((30, 4)), np.zeros((30, 4)))
    assert found.value == 0.0
    unseen = 1 - 0.05 ** (1 / 30)  # no event in 30 prompts; who was not seen had no copy before
    assert found.high == pytest.approx(unseen / (1 - unseen), rel=0.1)
    same = share_left(np.ones((30, 4)), np.ones((30, 4)))
    assert same.low < 1.0 < same.high


def test_a_loss_is_what_is_not_left():
    rng = np.random.default_rng(3)
    before = rng.normal(1.0, 0.1, (50, 4))
    after = 0.9 * before + rng.normal(0.0, 0.02, (50, 4))
    found = relative_loss(before, after)
    assert found.value == pytest.approx(1 - after.mean() / before.mean())
    assert found.low < found.value < found.high
    assert 0.03 < found.low < found.high < 0.17
    assert relative_loss(before, 1.1 * before).value == pytest.approx(-0.1)


def test_a_change_is_paired():
    rng = np.random.default_rng(4)
    before = rng.normal(0.0, 10.0, 80)
    found = mean_change(before, before + 0.5 + rng.normal(0.0, 0.1, 80))
    assert 0.45 < found.low < 0.5 < found.high < 0.55
    mean = mean_over_prompts(before)
    assert mean.high - mean.low > 20 * (found.high - found.low)
    assert mean.value == pytest.approx(before.mean())


def test_what_is_undefined_is_refused():
    with pytest.raises(InsufficientProbes, match="Nothing was there before in 6 prompts"):
        share_left(np.zeros(6), np.zeros(6))
    with pytest.raises(InsufficientProbes, match="from 1 of 6 prompts: too few for an upper bound") as few:
        share_left(np.eye(6)[0], np.zeros(6))
    assert few.value.needed == 12
    with pytest.raises(InsufficientProbes, match="Cannot bound 19 prompts: at least 20"):
        mean_change(np.zeros(19), np.zeros(19))
    with pytest.raises(InsufficientProbes, match="Cannot bound 4 prompts: at least 5"):
        share_left(np.ones(4), np.zeros(4))
    with pytest.raises(AuditError, match="nothing is there of which a share could be lost"):
        relative_loss(np.full(6, -0.1), np.full(6, 0.1))
    with pytest.raises(AuditError, match="not surely above 0 in 6 prompts"):
        relative_loss(np.array([-1.0, -1.0, -1.0, 1.5, 1.5, 1.0]), np.ones(6))
    with pytest.raises(UsageError, match="`before` and `after` must be shares"):
        share_left(np.full(6, 2.0), np.zeros(6))
    with pytest.raises(UsageError, match="`after` must be about the same 6 prompts, got 5"):
        mean_change(np.zeros(6), np.zeros(5))
    with pytest.raises(UsageError, match="`before` must be finite"):
        mean_change(np.array([np.nan] * 6), np.zeros(6))


@pytest.mark.parametrize(("name", "function"), [("share_left", share_left), ("relative_loss", relative_loss)])
def test_a_stored_claim_is_recomputed(name, function):
    rng = np.random.default_rng(5)
    before, after = rng.random((20, 3)) < 0.8, rng.random((20, 3)) < 0.4
    again = recompute(name, {"before": [before], "after": [after]}, {"confidence": 0.9, "seed": 3, "rule": 2})
    assert again == function(before, after, confidence=0.9, seed=3)
