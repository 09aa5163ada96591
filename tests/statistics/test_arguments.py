import numpy as np
import pytest

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics import (
    auroc,
    binomial_lower,
    binomial_upper,
    false_match_threshold,
    rate,
    roc_band,
    roc_curve,
    score_histogram,
    tpr_at_fpr,
)

GOOD = np.arange(50.0)

TAKE_SCORES = {
    "auroc": auroc,
    "roc_curve": roc_curve,
    "roc_band": roc_band,
    "score_histogram": score_histogram,
    "tpr_at_fpr": lambda member, nonmember: tpr_at_fpr(member, nonmember, max_fpr=0.1),
}

BAD_SCORES = {
    "nan": ([1.0, np.nan], "must be finite, got nan at index 1"),
    "infinite": ([np.inf, 1.0], "must be finite, got inf at index 0"),
    "empty": ([], "must be non-empty, got 0"),
    "two-dimensional": ([[1.0, 2.0]], r"must be one-dimensional, got shape \(1, 2\)"),
    "a single number": (3.0, r"must be one-dimensional, got shape \(\)"),
    "text": (["a"], "must be real numbers, got dtype <U1"),
    "truth values": ([True, False], "must be real numbers, got dtype bool"),
    "complex": ([1j], "must be real numbers, got dtype complex128"),
}


@pytest.mark.parametrize("function", TAKE_SCORES.values(), ids=TAKE_SCORES)
@pytest.mark.parametrize(("scores", "message"), BAD_SCORES.values(), ids=BAD_SCORES)
def test_scores_that_are_no_scores_are_refused_by_name(function, scores, message):
    with pytest.raises(UsageError, match=f"`member_scores` {message}"):
        function(scores, GOOD)
    with pytest.raises(UsageError, match=f"`nonmember_scores` {message}"):
        function(GOOD, scores)


@pytest.mark.parametrize("confidence", [0.0, 0.05, 0.5, 1.0, 1.5, -0.95, np.nan, "0.95", None])
def test_a_significance_is_not_taken_for_a_confidence(confidence):
    uses = (
        lambda: rate(1, 10, confidence=confidence),
        lambda: binomial_lower(1, 10, confidence=confidence),
        lambda: binomial_upper(1, 10, confidence=confidence),
        lambda: auroc(GOOD, GOOD, confidence=confidence),
        lambda: tpr_at_fpr(GOOD, GOOD, max_fpr=0.1, confidence=confidence),
        lambda: false_match_threshold(GOOD, max_false_match_rate=0.1, confidence=confidence, ceiling=1.0),
    )
    for use in uses:
        with pytest.raises(UsageError, match="`confidence` must be"):
            use()


@pytest.mark.parametrize("max_fpr", [0.0, 1.0, -0.1, 5, np.nan, "1%", [0.1]])
def test_a_false_positive_rate_is_a_fraction(max_fpr):
    with pytest.raises(UsageError, match="`max_fpr` must be"):
        tpr_at_fpr(GOOD, GOOD, max_fpr=max_fpr)


def test_an_unknown_interval_is_refused():
    with pytest.raises(UsageError, match="`interval` must be 'one-sided' or 'two-sided', got 'both'"):
        auroc(GOOD, GOOD, interval="both")


def test_single_precision_and_whole_numbers_are_scored_in_double_precision():
    whole = auroc(np.arange(1, 30), np.arange(29))
    single = auroc(np.arange(1, 30, dtype=np.float32), np.arange(29, dtype=np.float32))
    assert whole == single == auroc(np.arange(1.0, 30.0), np.arange(29.0))


def test_scores_of_the_caller_are_not_changed():
    member, nonmember = np.array([3.0, 1.0, 2.0]), np.array([1.0, 4.0, 2.0])
    auroc(member, nonmember)
    tpr_at_fpr(member, nonmember, max_fpr=0.4)
    roc_curve(member, nonmember)
    assert member.tolist() == [3.0, 1.0, 2.0]
    assert nonmember.tolist() == [1.0, 4.0, 2.0]
