"""The vote of DRC: thresholds from one set of non-members, the number of votes from another."""

import numpy as np
import pytest

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.membership.drc import allowed_false_positives, calibrate_vote
from pytest_diffprivacy.statistics import binomial_upper, ranks


def scores(n, tasks, seed, *, shared=0.0):
    """Standard normal scores whose tasks have the given correlation."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=(n, 1)), rng.normal(size=(n, tasks))
    return np.sqrt(shared) * common + np.sqrt(1.0 - shared) * own


@pytest.mark.parametrize(
    ("max_fpr", "allowed"),
    [
        (0.05, {100: 1, 300: 8, 500: 16, 1000: 38, 2000: 83}),
        (0.01, {100: None, 300: 0, 500: 1, 1000: 4, 2000: 12}),
    ],
)
def test_false_positives_allowed_are_those_of_the_table(max_fpr, allowed):
    assert {n: allowed_false_positives(n, max_fpr) for n in allowed} == allowed


@pytest.mark.parametrize("n", [59, 100, 731])
def test_one_more_false_positive_would_be_too_many(n):
    k = allowed_false_positives(n, 0.05)
    assert binomial_upper(k, n, confidence=0.95) <= 0.05 < binomial_upper(k + 1, n, confidence=0.95)
    assert k == ranks(n, 0.05, 0.05).low - 1


@pytest.mark.parametrize(("task_fpr", "seed"), [(0.05, 1), (0.2, 2), (0.25, 3)])
def test_the_fewest_votes_are_taken_whose_bound_holds(task_fpr, seed):
    second = scores(500, 4, 100 + seed, shared=0.3)
    vote = calibrate_vote(scores(300, 4, seed, shared=0.3), second, max_fpr=0.05, task_fpr=task_fpr)
    counts = [int((vote.votes(second) >= k).sum()) for k in range(1, 5)]
    assert vote.false_positives == tuple(counts)
    assert vote.needed == min(k for k in range(1, 5) if counts[k - 1] <= 16)
    assert vote.fpr_upper == binomial_upper(counts[vote.needed - 1], 500, confidence=0.95) <= 0.05


def test_a_task_votes_only_above_what_the_allowed_share_of_its_non_members_reaches():
    first = np.arange(100.0)[:, None]
    vote = calibrate_vote(first, scores(400, 1, 5), max_fpr=0.05)
    assert vote.thresholds == (94.0,)
    assert vote.votes([[94.0], [94.5]]).tolist() == [0, 1]


def test_a_score_that_equals_the_threshold_is_no_vote():
    vote = calibrate_vote(np.arange(100.0)[:, None], np.full((400, 1), 94.0), max_fpr=0.05)
    assert vote.false_positives == (0,)


def test_agreement_catches_members_that_single_tasks_miss():
    vote = calibrate_vote(scores(400, 6, 1), scores(1000, 6, 2), max_fpr=0.01, task_fpr=0.2)
    alone = calibrate_vote(scores(400, 1, 1), scores(1000, 1, 2), max_fpr=0.01, task_fpr=0.005)
    members = scores(500, 6, 3) + 1.5
    assert vote.members(members).mean() > alone.members(members[:, :1]).mean() + 0.15


def test_a_calibrated_vote_keeps_its_rate_in_all_but_few_runs():
    broken = 0
    for seed in range(100):
        vote = calibrate_vote(scores(200, 4, 3 * seed), scores(300, 4, 3 * seed + 1), max_fpr=0.05, task_fpr=0.2)
        broken += vote.members(scores(20_000, 4, 3 * seed + 2)).mean() > 0.05
    assert broken <= 10


def test_too_few_non_members_say_how_many_are_needed():
    with pytest.raises(InsufficientProbes, match="from 100 non-members: at least 299 are needed") as caught:
        calibrate_vote(scores(50, 2, 1), scores(100, 2, 2), max_fpr=0.01)
    assert caught.value.needed == 299
    assert allowed_false_positives(299, 0.01) == 0
    assert allowed_false_positives(298, 0.01) is None


def test_tasks_that_always_agree_give_no_vote():
    with pytest.raises(AuditError, match=r"All 3 tasks agree on .* of 300 non-members"):
        calibrate_vote(scores(300, 3, 1, shared=1.0), scores(300, 3, 2, shared=1.0), max_fpr=0.05, task_fpr=0.2)


def test_the_same_non_members_twice_are_refused():
    first = scores(300, 2, 1)
    with pytest.raises(UsageError, match="`vote_scores` must come from other non-members"):
        calibrate_vote(first, first.copy(), max_fpr=0.05)


@pytest.mark.parametrize(
    ("first", "second", "changes", "message"),
    [
        (np.zeros(5), np.zeros((5, 1)), {}, r"`threshold_scores` must have shape \(images, K\), got \(5,\)"),
        (np.zeros((5, 2)), np.ones((5, 1)), {}, r"`vote_scores` must have shape \(images, 2\), got \(5, 1\)"),
        (np.full((5, 1), np.nan), np.ones((5, 1)), {}, "`threshold_scores` must be finite, got 5"),
        (np.zeros((5, 1)), np.ones((5, 1)), {"max_fpr": 1.0}, "`max_fpr` must be strictly between 0 and 1"),
        (np.zeros((5, 1)), np.ones((5, 1)), {"task_fpr": 0.0}, "`task_fpr` must be strictly between 0 and 1"),
        (np.zeros((5, 1)), np.ones((5, 1)), {"confidence": 0.05}, "`confidence` must be above 0.5"),
    ],
)
def test_bad_calibrations_are_refused(first, second, changes, message):
    with pytest.raises(UsageError, match=message):
        calibrate_vote(first, second, **{"max_fpr": 0.05} | changes)


def test_scores_of_another_number_of_tasks_cannot_vote():
    vote = calibrate_vote(scores(300, 2, 1), scores(300, 2, 2), max_fpr=0.05)
    with pytest.raises(UsageError, match=r"`task_scores` must have shape \(images, 2\), got \(4, 3\)"):
        vote.votes(scores(4, 3, 3))
