"""Attacks combined with the help of labels."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership import cross_fitted_scores
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr


def attacks(leak: float, seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(leak, 1.0, (count, 4)), generator.normal(0.0, 1.0, (count, 4))


def test_four_weak_attacks_together_beat_each_of_them():
    members, others = attacks(0.5, 1)
    combined = auroc(*cross_fitted_scores(members, others)).value
    assert combined > max(auroc(members[:, i], others[:, i]).value for i in range(4)) + 0.05


@pytest.mark.slow
def test_a_label_never_helps_to_score_its_own_image():
    # In-sample, 4 features of 80 images would always separate a little.
    areas = []
    for seed in range(40):
        noise = np.random.default_rng(100 + seed).normal(size=(80, 4))
        areas.append(auroc(*cross_fitted_scores(noise[:40], noise[40:], seed=seed)).value)
    assert np.mean(areas) < 0.52


@pytest.mark.slow
def test_innocent_models_are_seldom_accused():
    fails = 0
    for seed in range(200):
        member_scores, other_scores = cross_fitted_scores(*attacks(0.0, 1000 + seed), seed=seed)
        fails += tpr_at_fpr(member_scores, other_scores, max_fpr=0.05).low > 0.05
    assert fails <= 10  # 5 % of 200


def test_the_same_seed_gives_the_same_folds():
    first, second = (cross_fitted_scores(*attacks(0.3, 3), seed=4) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize(
    ("members", "others", "folds", "message"),
    [
        (np.zeros((10, 1)), np.zeros((10, 1)), 5, "at least 2 attacks"),
        (np.zeros((10, 2)), np.zeros((10, 3)), 5, "at least 2 attacks"),
        (np.zeros((3, 2)), np.zeros((10, 2)), 5, "`folds` must be at least 2 and at most the images"),
    ],
)
def test_scores_that_cannot_be_combined_are_refused(members, others, folds, message):
    with pytest.raises(UsageError, match=message):
        cross_fitted_scores(members, others, folds=folds)


def test_nan_is_an_error():
    members, others = attacks(0.0, 5)
    members[3, 1] = np.nan
    with pytest.raises(AuditError, match="1 of the scores to combine are not finite"):
        cross_fitted_scores(members, others)
