"""Resampled differences of two releases on the same probes."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import auroc, auroc_difference, resampled_auroc_difference


def releases(seed, *, step=0.3, members=120, nonmembers=150, noise=0.3):
    """New and old release: the same probes are hard in both, the new one knows members a little better."""
    rng = np.random.default_rng([5, seed])
    hard1, hard0 = rng.normal(0.5, 1, members), rng.normal(0, 1, nonmembers)
    moved = [noise * rng.normal(size=n) for n in (members, nonmembers, members, nonmembers)]
    return (hard1 + step + moved[2], hard0 + moved[3]), (hard1 + moved[0], hard0 + moved[1])


def test_it_agrees_with_delong():
    new, old = releases(3)
    delong, resampled = auroc_difference(new, old), resampled_auroc_difference(new, old, seed=4)
    assert resampled.value == pytest.approx(delong.value, abs=1e-12)
    assert resampled.low == pytest.approx(delong.low, abs=0.01)
    assert resampled.high == pytest.approx(delong.high, abs=0.01)
    assert resampled_auroc_difference(new, old, seed=4) == resampled != resampled_auroc_difference(new, old, seed=5)


@pytest.mark.slow
def test_no_difference_is_seldom_called_one():
    above = below = 0
    for seed in range(100):
        found = resampled_auroc_difference(*releases(seed, step=0.0), seed=seed, resamples=400)
        above += found.low > 0.0
        below += found.high < 0.0
    assert max(above, below) <= 11  # 5 % of 100 and 2.5 standard errors


def test_paired_probes_show_a_change_that_two_intervals_do_not():
    paired = separate = 0
    for seed in range(30):
        new, old = releases(seed)
        paired += auroc_difference(new, old).low > 0.0
        separate += auroc(*new).low > auroc(*old).high
    assert paired >= 28
    assert separate <= 5


def test_what_cannot_be_compared_is_refused():
    new, old = releases(2)
    with pytest.raises(UsageError, match="Join both scores by image"):
        resampled_auroc_difference(new, (old[0], old[1][:-1]), seed=1)
    with pytest.raises(InsufficientProbes, match="fewer than 2 members"):
        resampled_auroc_difference(([1.0], [2.0]), ([1.0], [2.0]), seed=1)
    with pytest.raises(UsageError, match="`resamples` must be a whole number of at least 100"):
        resampled_auroc_difference(new, old, seed=1, resamples=3)
