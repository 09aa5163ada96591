"""A fine-tune judged from scores of both models that were made elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    Verdict,
    assert_finetune_adds_no_leak,
)
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.verify import verify_claim

MEMBERS, OTHERS = 150, 200
RNG = np.random.default_rng(6)
PROBES = ProbeSet(RNG.random((MEMBERS, 1, 4, 4)), RNG.random((OTHERS, 1, 4, 4)))
IDS = [f"member {i}" for i in range(MEMBERS)] + [f"non-member {i}" for i in range(OTHERS)]
HARD = np.random.default_rng(5).normal(0.0, 5.0, len(IDS))
MEMBER = np.arange(len(IDS)) < MEMBERS
BOUNDS: dict[str, Any] = {"max_fpr": 0.05, "limit": 0.25}


def table(seed: int = 0, *, shift: float = 0.0, others: float = 0.0, name: str = "mine") -> ScoreTable:
    """Every model finds the same images hard; what it knows of members, and of all, comes on top."""
    scores = HARD + np.random.default_rng([9, seed]).normal(others, 1.0, len(IDS)) + shift * MEMBER
    return ScoreTable({name: dict(zip(IDS, scores.tolist(), strict=True))})


def test_a_fine_tune_is_judged_by_the_increase_and_the_record_says_what_nobody_checked() -> None:
    claim = assert_finetune_adds_no_leak(table(1), table(2, others=3.0), PROBES, auditor=Auditor(), **BOUNDS)
    assert claim.verdict is Verdict.PASS
    assert claim.sentence.endswith("(mine, scores made elsewhere)")
    assert [(control.kind, control.outcome.value) for control in claim.controls] == [
        ("split", "held"), ("positive", "not applicable"), ("negative", "held")
    ]  # fmt: skip
    assert any("the same noise" in note for note in claim.notes)
    with pytest.raises(PrivacyViolation) as caught:
        assert_finetune_adds_no_leak(table(1), table(2, shift=6.0), PROBES, auditor=Auditor(), **BOUNDS)
    alone = {estimate.name: estimate.value for estimate in caught.value.claim.also_measured}
    assert alone["TPR at FPR <= 0.05: fine-tuned model alone"] < 0.6 < caught.value.claim.value


def test_two_columns_of_one_file_are_two_models() -> None:
    both = {"before": table(1).of(IDS, "mine"), "after": table(2, shift=6.0).of(IDS, "mine")}
    one = ScoreTable({name: dict(zip(IDS, scores.tolist(), strict=True)) for name, scores in both.items()})
    with pytest.raises(PrivacyViolation) as caught:
        assert_finetune_adds_no_leak(one.select("before"), one.select("after"), PROBES, auditor=Auditor(), **BOUNDS)
    assert caught.value.claim.methods[0].parameters["base"] == "before"
    with pytest.raises(AuditError, match="one model was asked twice"):
        assert_finetune_adds_no_leak(one.select("after"), one.select("after"), PROBES, auditor=Auditor(), **BOUNDS)
    with pytest.raises(UsageError, match="among the columns of table"):
        assert_finetune_adds_no_leak(one, one, PROBES, auditor=Auditor(), **BOUNDS)
    with pytest.raises(UsageError, match="`column` must be among the columns of table"):
        one.select("missing")


def test_a_control_that_tells_members_apart_is_an_error() -> None:
    tables = table(1), table(2, shift=6.0)
    with pytest.raises(PrivacyViolation) as caught:
        assert_finetune_adds_no_leak(*tables, PROBES, control=table(3), auditor=Auditor(), **BOUNDS)
    assert [control.name for control in caught.value.claim.controls][2] == (
        "Control fine-tune: mine, scores made elsewhere"
    )
    with pytest.raises(AuditError, match="Control fine-tune"):
        assert_finetune_adds_no_leak(*tables, PROBES, control=table(3, shift=6.0), auditor=Auditor(), **BOUNDS)


def test_exchanged_models_are_an_error_and_no_pass() -> None:
    judge = Auditor()
    with pytest.raises(AuditError, match="less likely than others beyond chance"):
        assert_finetune_adds_no_leak(table(2, shift=6.0), table(1), PROBES, auditor=judge, **BOUNDS)
    assert judge.claims[0].verdict is Verdict.ERROR


def test_tables_that_do_not_match_are_refused() -> None:
    short = {key: 0.1 * number for number, key in enumerate(IDS[1:])}
    with pytest.raises(UsageError, match="1 ids are probes without a score: 'member"):
        assert_finetune_adds_no_leak(table(1), ScoreTable({"mine": short}), PROBES, **BOUNDS)
    longer = ScoreTable({"mine": short | {IDS[0]: 1.0, "another": 1.0}})
    with pytest.raises(UsageError, match="1 ids are no probes: 'another'"):
        assert_finetune_adds_no_leak(longer, table(1), PROBES, **BOUNDS)
    with pytest.raises(UsageError, match="`control` must be a ScoreTable where another is one, got object"):
        assert_finetune_adds_no_leak(table(1), table(2), PROBES, control=object(), **BOUNDS)


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_the_verdict_is_had_again_from_the_stored_increases(
    shift: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("evidence")
    judge = Auditor(run=RunFolder(root, "run"))
    try:
        assert_finetune_adds_no_leak(table(1), table(2, shift=shift), PROBES, auditor=judge, **BOUNDS)
    except PrivacyViolation:
        assert shift
    assert judge.run is not None
    checks = list(verify_claim(judge.claims[0], judge.run.folder))
    assert [check.problem for check in checks] == [""] * len(checks)


def test_a_plan_asks_no_network() -> None:
    judge = Auditor(planning=True)
    assert_finetune_adds_no_leak(table(1), table(2), PROBES, auditor=judge, **BOUNDS)
    assert any("150 members, 200 non-members" in line for line in judge.plans[0])
    assert any("made elsewhere" in line for line in judge.plans[0])
