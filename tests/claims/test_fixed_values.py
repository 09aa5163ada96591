"""Scores made elsewhere and held to a fixed value prove nothing where they are constant or the wrong way round."""

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
    Verdict,
    assert_erased,
    assert_finetune_not_extractable,
    assert_no_extraction,
    assert_sharpness_below,
    assert_usage_share_below,
)
from pytest_diffprivacy.membership.shadow import ShadowScores

RNG = np.random.default_rng(2)
NEAR, FAR = RNG.uniform(0.0, 0.05, 80), RNG.uniform(0.5, 0.6, 80)
PROBES = ProbeSet(*np.split(RNG.random((160, 1, 4, 4)), 2))


def table(members: np.ndarray, others: np.ndarray) -> ScoreTable:
    sides = {"member": members, "non-member": others}
    return ScoreTable(
        {"mine": {f"{role} {i}": float(v) for role, values in sides.items() for i, v in enumerate(values)}}
    )


def test_a_column_of_distances_is_no_proof_that_nothing_comes_back() -> None:
    judge = Auditor()
    with pytest.raises(Inconclusive, match="score lower than the others beyond chance, as they would by a column of"):
        assert_finetune_not_extractable(None, NEAR, FAR, limit=0.1, auditor=judge)
    with pytest.raises(Inconclusive, match="score lower than the others"):
        assert_finetune_not_extractable(None, table(NEAR, FAR), PROBES, limit=0.1, auditor=judge)
    with pytest.raises(Inconclusive, match="score lower than the others"):
        assert_sharpness_below(table(NEAR, FAR), PROBES, sharp_above=2.0, limit=0.1, auditor=judge)
    with pytest.raises(Inconclusive, match="score lower than the others"):
        assert_no_extraction(NEAR, FAR, unit="subject", copy_from=0.9, max_rate=0.1, auditor=judge)
    assert {claim.verdict for claim in judge.claims} == {Verdict.INCONCLUSIVE}
    with pytest.raises(AuditError, match=r"must be cosines in \[-1, 1\], got 80 of 160 outside"):
        assert_finetune_not_extractable(None, NEAR, 10 * FAR, limit=0.1, auditor=judge)


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_a_constant_is_none_either(value: float) -> None:
    judge, same = Auditor(), np.full(80, value)
    for pair in ((same, same), (table(same, same), PROBES)):
        with pytest.raises(AuditError, match="all 160 scores equal"):
            assert_sharpness_below(*pair, sharp_above=1.0, limit=0.1, auditor=judge)
        with pytest.raises(AuditError, match="all 160 scores equal"):
            assert_finetune_not_extractable(None, *pair, limit=0.1, auditor=judge)
    with pytest.raises(AuditError, match="all 160 scores equal"):
        assert_no_extraction(same, same, unit="subject", copy_from=0.9, max_rate=0.1, auditor=judge)
    with pytest.raises(AuditError, match="all 160 scores equal"):
        assert_erased(None, forget=same, never_seen=same, margin=0.2, auditor=judge)
    assert {claim.verdict for claim in judge.claims} == {Verdict.ERROR}


def test_a_target_that_was_not_asked_has_no_usage_share() -> None:
    membership = np.array([np.arange(60) % 2 == k % 2 for k in range(4)])
    losses = RNG.normal(1.0, 0.1, 60) - 0.5 * membership + 0.01 * RNG.normal(size=(4, 60))
    digests, models = [bytes([i]) for i in range(60)], [f"shadow {k}" for k in range(4)]
    references = ShadowScores(losses, membership, digests, models)
    with pytest.raises(AuditError, match="All 60 losses of the target equal 1"):
        assert_usage_share_below(np.ones(60), None, references=references, limit=0.2, auditor=Auditor())


def test_sound_scores_are_judged_as_before() -> None:
    low, more = RNG.uniform(0.0, 0.6, 200), RNG.uniform(0.0, 0.6, 200)
    assert assert_finetune_not_extractable(None, low, more, limit=0.1, auditor=Auditor()).verdict is Verdict.PASS
    assert assert_sharpness_below(low, more, sharp_above=0.9, limit=0.1, auditor=Auditor()).verdict is Verdict.PASS
    with pytest.raises(PrivacyViolation):
        assert_sharpness_below(low + 1.0, more, sharp_above=0.9, limit=0.1, auditor=Auditor())
