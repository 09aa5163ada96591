import numpy as np
import pytest

from pytest_diffprivacy.errors import AuditError, InsufficientProbes
from pytest_diffprivacy.statistics import auroc, check_coherence, check_points, roc_curve


def scores(shift, members=300, nonmembers=200):
    rng = np.random.default_rng(41)
    return rng.normal(shift, 1, members), rng.normal(0, 1, nonmembers)


@pytest.mark.parametrize("shift", [0.0, 0.5, 4.0])
def test_honest_scores_are_coherent(shift):
    found = check_coherence(*scores(shift), max_fpr=0.01)
    assert (found.tied, found.resolution, found.ranked_last) == (0.0, 1 / 200, False)
    assert found.area == auroc(*scores(shift)).value


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_score_that_is_no_number_stops_the_audit(side, bad):
    given = scores(1.0)
    given[side][7] = bad
    with pytest.raises(AuditError, match=r"1 of [23]00 (non-)?member scores are NaN or infinite"):
        check_coherence(*given)


def test_a_constant_score_stops_the_audit():
    with pytest.raises(AuditError, match="SimA: all 50 scores equal 2: the attack does not look"):
        check_coherence(np.full(20, 2.0), np.full(30, 2.0), title="SimA")


def test_an_fpr_below_the_resolution_is_refused_with_the_number_needed():
    with pytest.raises(InsufficientProbes, match=r"200 non-members show no false positive rate of 0\.001") as caught:
        check_coherence(*scores(1.0), max_fpr=0.001)
    assert caught.value.needed == 1000


def test_ties_are_counted():
    found = check_coherence([0.0, 1.0, 1.0, 5.0], [1.0, 2.0, 3.0, 3.0])
    assert found.tied == 5 / 8


def test_an_attack_that_ranks_members_last_is_found_and_chance_is_not():
    members, nonmembers = scores(0.5)
    assert check_coherence(-members, -nonmembers).ranked_last
    rng = np.random.default_rng(42)
    last = [check_coherence(rng.normal(size=60), rng.normal(size=60)).ranked_last for _ in range(2_000)]
    assert np.mean(last) <= 0.002


def test_the_published_contradiction_is_refused():
    """AUC 0.849 with a TPR of 1.0 at 1 % FPR, as a public report once said."""
    curve = roc_curve(np.full(100, 2.0), np.repeat([3.0, 1.0], [1, 99]))
    assert (curve.fpr[2], curve.tpr[2]) == (0.01, 1.0)
    with pytest.raises(AuditError, match=r"TPR 1 at FPR 0\.01 contradict .* needs an AUROC in \[0\.99, 1\]"):
        check_points(curve, 0.849)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_an_area_moved_beyond_its_points_is_refused_on_either_side(shift):
    curve, area = roc_curve(*scores(shift)), auroc(*scores(shift)).value
    check_points(curve, area)
    low = max((curve.tpr * (1 - curve.fpr)).max(), (curve.tpr - curve.fpr).max())
    high = (1 - curve.fpr * (1 - curve.tpr)).min()
    assert low <= area <= high
    for impossible in (low - 1e-6, high + 1e-6):
        with pytest.raises(AuditError, match=r"contradict each other|2 ASR - 1"):
            check_points(curve, impossible)


def test_any_scores_satisfy_the_bounds():
    rng = np.random.default_rng(43)
    for _ in range(300):
        n1, n0 = rng.integers(2, 30, 2)
        members, nonmembers = rng.integers(0, 6, n1).astype(float), rng.integers(0, 6, n0).astype(float)
        if np.ptp(np.concatenate([members, nonmembers])) > 0:
            check_coherence(members, nonmembers)
