import numpy as np
import pytest
from scipy import integrate

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import auroc, roc_band, roc_curve, score_histogram, tpr_at_fpr


@pytest.mark.parametrize("name", ["ties", "perfect"])
def test_the_curve_agrees_with_scikit_learn(golden, name):
    curve = roc_curve(golden["data"][name]["member"], golden["data"][name]["nonmember"])
    expected = golden["roc"][name]
    assert curve.fpr == pytest.approx(expected["fpr"], abs=1e-12)
    assert curve.tpr == pytest.approx(expected["tpr"], abs=1e-12)
    assert curve.thresholds[1:] == pytest.approx(expected["thresholds"][1:], abs=1e-12)
    assert curve.thresholds[0] == np.inf


def test_every_point_is_what_its_threshold_does():
    rng = np.random.default_rng(1)
    member, nonmember = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 30).round(1)
    curve = roc_curve(member, nonmember)
    for fpr, tpr, threshold in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        assert fpr == sum(score >= threshold for score in nonmember) / 30
        assert tpr == sum(score >= threshold for score in member) / 40
    assert len(set(curve.thresholds)) == len(curve.thresholds)
    assert (curve.members, curve.nonmembers) == (40, 30)


def test_equal_scores_are_one_step():
    curve = roc_curve([1.0, 1.0, 2.0], [1.0, 1.0])
    assert (curve.fpr.tolist(), curve.tpr.tolist()) == ([0.0, 0.0, 1.0], [0.0, 1 / 3, 1.0])


def test_the_area_under_the_curve_is_the_auroc():
    rng = np.random.default_rng(2)
    member, nonmember = rng.normal(1, 1, 300).round(1), rng.normal(0, 1, 200).round(1)
    curve = roc_curve(member, nonmember)
    assert integrate.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auroc(member, nonmember).value, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("points", [10, 101, 400])
def test_a_thinned_curve_looks_the_same_on_linear_and_on_log_axes(shift, points):
    rng = np.random.default_rng(3)
    curve = roc_curve(rng.normal(shift, 1, 5_000), rng.normal(0, 1, 4_000))
    thin = curve.thinned(points)
    assert len(thin.fpr) <= points
    assert set(zip(thin.fpr, thin.tpr, strict=True)) <= set(zip(curve.fpr, curve.tpr, strict=True))
    assert (thin.fpr[0], thin.tpr[0], thin.fpr[-1], thin.tpr[-1]) == (0, 0, 1, 1)
    before = np.searchsorted(-thin.thresholds, -curve.thresholds, "right") - 1
    after = np.searchsorted(-thin.thresholds, -curve.thresholds, "left")
    near = 8 / (points - 3)
    straight = (thin.fpr[before] == thin.fpr[after]) | (thin.tpr[before] == thin.tpr[after])
    for full, kept, n in ((curve.fpr, thin.fpr, 4_000), (curve.tpr, thin.tpr, 5_000)):
        for axis in (lambda v: v, lambda v, n=n: np.log1p(v * n) / np.log1p(n)):
            error = np.maximum(axis(full) - axis(kept[before]), axis(kept[after]) - axis(full))
            assert error[~straight].max(initial=0.0) <= near


def test_a_short_curve_loses_only_points_inside_straight_runs():
    curve = roc_curve([3.0, 4.0, 5.0, 6.0], [0.0, 1.0, 2.0]).thinned()
    assert (curve.fpr.tolist(), curve.tpr.tolist()) == ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    with pytest.raises(UsageError, match="`points` must be a whole number of at least 10, got 3"):
        curve.thinned(3)


def test_the_band_is_what_tpr_at_fpr_says_at_each_limit():
    rng = np.random.default_rng(4)
    member, nonmember = rng.normal(1, 1, 150), rng.normal(0, 1, 90)
    band = roc_band(member, nonmember, confidence=0.9, interval="two-sided")
    assert band.max_fpr.size > 40
    for x, low, high in zip(band.max_fpr, band.low, band.high, strict=True):
        point = tpr_at_fpr(member, nonmember, max_fpr=x, confidence=0.9, interval="two-sided")
        assert (point.low, point.high) == (low, high)
        assert low <= point.value <= high


def test_the_band_leaves_out_what_the_non_members_cannot_resolve():
    band = roc_band([1.0, 2.0], np.arange(50.0), max_fprs=[0.001, 0.5, 0.02, 0.02])
    assert band.max_fpr.tolist() == [0.02, 0.5]
    assert not np.isnan(np.concatenate((band.low, band.high))).any()
    assert roc_band([1.0], [2.0]).max_fpr.size == 0
    with pytest.raises(UsageError, match=r"`max_fprs` must be strictly between 0 and 1, got 1\.0"):
        roc_band([1.0], [2.0], max_fprs=[0.1, 1.0])


def test_a_histogram_counts_every_score_once():
    rng = np.random.default_rng(5)
    member, nonmember = rng.normal(1, 1, 150), rng.normal(0, 1, 90)
    found = score_histogram(member, nonmember, bins=25)
    assert (found.members.sum(), found.nonmembers.sum(), found.edges.size) == (150, 90, 26)
    assert found.edges[0] == min(member.min(), nonmember.min())
    assert found.edges[-1] == max(member.max(), nonmember.max())


@pytest.mark.parametrize("scores", [[7.0, 7.0], [1.0, np.nextafter(1.0, 2.0)], [1e300, 1e300], [-1e308, 1e308]])
def test_a_histogram_survives_scores_that_are_equal_or_far_apart(scores):
    found = score_histogram(scores, [scores[0]])
    assert (found.members.sum(), found.nonmembers.sum()) == (2, 1)
    assert (np.diff(found.edges) > 0).all()
