import math
from dataclasses import dataclass

import numpy as np
import pytest

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.statistics import Verdict, auroc, decide, excess_rate, rate, tpr_at_fpr


@dataclass(frozen=True)
class Given:
    value: float
    low: float
    high: float
    confidence: float = 0.95


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.00, 0.04, Verdict.PASS),
        (0.00, 0.05, Verdict.PASS),
        (0.05, 0.05, Verdict.PASS),
        (0.00, math.nextafter(0.05, 1), Verdict.INCONCLUSIVE),
        (0.05, 0.06, Verdict.INCONCLUSIVE),
        (math.nextafter(0.05, 1), 0.06, Verdict.FAIL),
        (0.06, math.inf, Verdict.FAIL),
        (-math.inf, math.inf, Verdict.INCONCLUSIVE),
    ],
)
def test_bounds_decide_and_equality_passes(low, high, verdict):
    assert decide(Given(0.05, low, high), 0.05).verdict is verdict


@pytest.mark.parametrize("value", [0.0, 0.05, 1.0])
def test_the_point_estimate_decides_nothing(value):
    assert decide(Given(value, 0.01, 0.04), 0.05).verdict is Verdict.PASS
    assert decide(Given(value, 0.01, 0.06), 0.05).verdict is Verdict.INCONCLUSIVE


def test_a_pass_cannot_be_bought_with_a_small_sample():
    limit = 0.01
    assert decide(rate(0, 100), limit).verdict is Verdict.INCONCLUSIVE
    assert decide(rate(0, 298), limit).verdict is Verdict.INCONCLUSIVE
    assert decide(rate(0, 299), limit).verdict is Verdict.PASS
    assert "0.0295" in decide(rate(0, 100), limit).reason


def test_every_result_of_this_room_can_be_judged():
    member, nonmember = np.arange(100) + 30.0, np.arange(100)
    results = (
        rate(3, 10),
        excess_rate(3, 10, 1, 10),
        auroc(member, nonmember),
        tpr_at_fpr(member, nonmember, max_fpr=0.05),
    )
    for measured in results:
        decision = decide(measured, 0.9)
        assert (decision.value, decision.low, decision.high) == (measured.value, measured.low, measured.high)
        assert decision.confidence == 0.95


def test_a_decision_carries_its_rule_and_its_reason():
    decision = decide(Given(0.183, 0.142, 0.229), 0.05)
    assert decision.verdict is Verdict.FAIL
    assert decision.reason == "lower bound 0.142 is above the limit 0.05"
    assert decision.rule.startswith("PASS if the upper bound is at most the limit, FAIL if the lower bound")
    between = decide(Given(0.04, 0.01, 0.06), 0.05).reason
    assert between == "limit 0.05 lies between lower bound 0.01 and upper bound 0.06"


def test_a_reason_never_shows_two_different_numbers_as_equal():
    reason = decide(Given(0.05, 0.0, 0.0500001), 0.05).reason
    assert reason == "limit 0.05 lies between lower bound 0 and upper bound 0.0500001"
    nearest = math.nextafter(0.3, 1)
    assert decide(Given(0.3, nearest, 1.0), 0.3).reason == f"lower bound {nearest!r} is above the limit 0.3"


@pytest.mark.parametrize("broken", [(math.nan, 0, 1), (0.5, math.nan, 1), (0.5, 0, math.nan), (0.5, 0.6, 0.4)])
def test_a_broken_measurement_is_an_error_and_never_a_pass(broken):
    with pytest.raises(AuditError, match="Cannot judge"):
        decide(Given(*broken), 0.5)
    with pytest.raises(AuditError, match="Cannot judge"):
        decide(Given(0.5, 0.4, 0.6, confidence=math.nan), 0.5)


@pytest.mark.parametrize("limit", [math.nan, math.inf, "0.05", None])
def test_a_limit_is_a_number(limit):
    with pytest.raises(UsageError, match="`limit` must be a"):
        decide(Given(0.5, 0.4, 0.6), limit)


def test_every_verdict_is_a_word_and_a_sentence():
    assert [str(verdict) for verdict in Verdict] == ["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]
    assert len({verdict.sentence for verdict in Verdict}) == 4
    assert all(verdict.sentence.endswith(".") for verdict in Verdict)
