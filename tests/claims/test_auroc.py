"""The claim about AUROC, at once and in few looks."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    Verdict,
    assert_mia_auroc_below,
)
from pytest_diffprivacy.errors import ClaimNotProven
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.models import AnalyticDenoiser
from pytest_diffprivacy.statistics import auroc, decide
from pytest_diffprivacy.statistics.group_sequential import GroupSequentialAurocStatistic
from pytest_diffprivacy.statistics.statistic import recompute

SIZE = 400
RNG = np.random.default_rng(3)
PROBES = ProbeSet(RNG.random((SIZE, 1, 4, 4)), RNG.random((SIZE, 1, 4, 4)))
IDS = [f"member {i}" for i in range(SIZE)] + [f"non-member {i}" for i in range(SIZE)]


def table(shift: float) -> ScoreTable:
    scores = np.random.default_rng(8).normal(size=2 * SIZE) + shift * (np.arange(2 * SIZE) < SIZE)
    return ScoreTable({"mine": dict(zip(IDS, scores.tolist(), strict=True))})


def judged(*arguments: object, **options: object) -> Claim:
    try:
        return assert_mia_auroc_below(*arguments, auditor=Auditor(seed=2), **options)
    except ClaimNotProven as error:
        return error.claim


def test_at_once_it_is_the_auroc_with_its_bounds() -> None:
    claim = judged(table(0.2), PROBES, limit=0.65)
    expected = auroc(*table(0.2).join(PROBES, "mine"))
    assert claim.verdict is Verdict.PASS
    assert (claim.value, claim.low, claim.high) == (expected.value, expected.low, expected.high)
    with pytest.raises(PrivacyViolation, match=r"AUROC is at most 0\.55"):
        assert_mia_auroc_below(table(1.0), PROBES, limit=0.55, auditor=Auditor())


@pytest.mark.parametrize(("shift", "limit", "verdict"), [(1.5, 0.6, "FAIL"), (0.0, 0.75, "PASS")])
def test_in_few_looks_it_stops_when_it_knows(shift: float, limit: float, verdict: str) -> None:
    claim = judged(table(shift), PROBES, limit=limit, sequential=True)
    assert claim.verdict == verdict
    assert any("of 400 of each decided, at look" in note for note in claim.notes)
    assert claim.charts[0].series[0].x[-1] < SIZE
    assert claim.low == claim.charts[0].series[0].low[-1]


def test_scores_that_do_not_decide_are_inconclusive() -> None:
    with pytest.raises(Inconclusive, match="without `sequential`, whose bounds are closer"):
        assert_mia_auroc_below(table(0.1), PROBES, limit=0.52, sequential=True, auditor=Auditor())


@pytest.mark.slow
def test_the_order_depends_on_the_seed_and_not_on_that_of_the_files() -> None:
    values = [claim.value for claim in (judged(table(0.5), PROBES, limit=0.5, sequential=True) for _ in range(2))]
    turned = ProbeSet(PROBES.members.subset(range(SIZE - 1, -1, -1)), PROBES.nonmembers)
    by_digest = {}
    for side, scores in zip((PROBES.members, PROBES.nonmembers), table(0.5).join(PROBES, "mine"), strict=True):
        by_digest |= {digest.hex(): score for digest, score in zip(side.digests, scores.tolist(), strict=True)}
    again = judged(ScoreTable({"mine": by_digest}), turned, limit=0.5, sequential=True)
    assert values[0] == values[1] == again.value


def test_the_record_holds_what_the_verdict_follows_from() -> None:
    auditor = Auditor()
    claim = assert_mia_auroc_below(table(0.0), PROBES, limit=0.75, sequential=True, auditor=auditor)
    rng_values = np.asarray(claim.charts[0].series[0].y)
    assert claim.recipe.statistic == "group_sequential_auroc"
    assert 0.0 < claim.p_value <= 1.0
    assert rng_values[-1] == claim.value
    first = GroupSequentialAurocStatistic(**claim.recipe.arguments).looks[2].pairs
    found = recompute(
        "group_sequential_auroc",
        {"members": [np.arange(first) + 100.0], "nonmembers": [np.arange(first) + 0.0]},
        claim.recipe.arguments,
    )
    assert decide(found, 0.75).verdict is Verdict.FAIL
    few = {role: [np.arange(3)] for role in ("members", "nonmembers")}
    with pytest.raises(UsageError, match="There is no look after 3 members"):
        recompute("group_sequential_auroc", few, claim.recipe.arguments)


def test_a_record_of_pairs_one_by_one_is_computed_again_as_it_was() -> None:
    found = recompute("sequential_mean", {"values": [np.ones(30)]}, {"confidence": 0.95})
    assert decide(found, 0.75).verdict is Verdict.FAIL


def test_a_model_is_scored_only_as_far_as_needed(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = judged(memorizing, probes, attack="loss", parameters={"draws": 2}, limit=0.6, sequential=True)
    assert claim.verdict is Verdict.FAIL
    assert claim.work.units_computed == 2  # one chunk of members, one of non-members
    assert claim.methods[0].name == "loss"


def test_what_cannot_be_judged_is_refused(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    with pytest.raises(UsageError, match=r"`limit` must be at least 0\.5, got 0\.4"):
        assert_mia_auroc_below(table(0.0), PROBES, limit=0.4, auditor=Auditor())
    with pytest.raises(UsageError, match="got a family"):
        assert_mia_auroc_below(
            memorizing, probes, attack="sima", parameters={"timestep": [50, 100]}, limit=0.6, auditor=Auditor()
        )


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda scores: -scores, "ranks members last beyond chance: its reverse recognises them"),
        (np.zeros_like, "scores equal 0"),
    ],
    ids=["flipped sign", "constant"],
)
def test_a_broken_attack_is_an_error_and_no_pass(sequential: bool, broken: object, message: str) -> None:
    scores, judge = np.concatenate(table(2.0).join(PROBES, "mine")), Auditor(seed=2)
    given = ScoreTable({"mine": dict(zip(IDS, broken(scores).tolist(), strict=True))})
    with pytest.raises(AuditError, match=message):
        assert_mia_auroc_below(given, PROBES, limit=0.7, sequential=sequential, auditor=judge)
    assert [claim.verdict for claim in judge.claims] == [Verdict.ERROR]
