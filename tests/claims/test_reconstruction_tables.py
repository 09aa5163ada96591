"""Reconstruction judged from errors that were measured elsewhere."""

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
    assert_no_reconstruction,
)
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.verify import verify_claim
from pytest_diffprivacy.statistics import mean_difference

MEMBERS, OTHERS = 60, 80
RNG = np.random.default_rng(6)
PROBES = ProbeSet(RNG.random((MEMBERS, 1, 4, 4)), RNG.random((OTHERS, 1, 4, 4)))
IDS = [f"member {i}" for i in range(MEMBERS)] + [f"non-member {i}" for i in range(OTHERS)]
MEMBER = np.arange(len(IDS)) < MEMBERS


def table(lower: float = 0.0, seed: int = 1) -> ScoreTable:
    """Errors around 0.2; those of members lower by this much."""
    errors = 0.2 + np.random.default_rng(seed).normal(0.0, 0.02, len(IDS)) - lower * MEMBER
    return ScoreTable({"rms": dict(zip(IDS, errors.tolist(), strict=True))})


def test_errors_are_judged_and_the_record_says_what_nobody_checked() -> None:
    scores = table()
    claim = assert_no_reconstruction(scores, PROBES, limit=0.02, auditor=Auditor())
    assert claim.verdict is Verdict.PASS
    members, others = scores.join(PROBES, "rms")
    assert claim.value == pytest.approx(mean_difference(-members, -others).value)
    assert claim.sentence.endswith("(rms, measured elsewhere)")
    assert [(control.name.partition(":")[0], control.outcome.value) for control in claim.controls] == [
        ("Split", "held"),
        ("Restoration without the model", "not applicable"),
    ]
    assert any("as many tries each" in note for note in claim.notes)
    assert [estimate.name for estimate in claim.also_measured] == ["AUROC of minus the error"]
    with pytest.raises(PrivacyViolation, match="restores hidden parts of its training images better"):
        assert_no_reconstruction(table(0.05), PROBES, limit=0.02, auditor=Auditor())


def test_a_reference_takes_the_images_own_difficulty_out() -> None:
    with pytest.raises(PrivacyViolation):
        assert_no_reconstruction(table(0.05), PROBES, limit=0.02, auditor=Auditor())
    options = {"limit": 0.02, "auditor": Auditor()}
    claim = assert_no_reconstruction(table(0.05), PROBES, reference=table(0.05, seed=2), **options)
    assert claim.verdict is Verdict.PASS
    assert "compared with a reference model" in claim.sentence
    with pytest.raises(AuditError, match="all 140 scores equal 0"):
        assert_no_reconstruction(table(), PROBES, reference=table(), **options)
    with pytest.raises(UsageError, match="`reference` must be a ScoreTable where the model is one, got object"):
        assert_no_reconstruction(table(), PROBES, reference=object(), **options)


def test_the_other_orientation_is_no_pass() -> None:
    similarity = {key: 0.5 + 0.3 * (place < MEMBERS) + 0.001 * (place % 7) for place, key in enumerate(IDS)}
    judge = Auditor()
    with pytest.raises(AuditError, match="Give errors, lower = restored better"):
        assert_no_reconstruction(ScoreTable({"ssim": similarity}), PROBES, limit=0.02, auditor=judge)
    assert judge.claims[0].verdict is Verdict.ERROR
    minus = {key: -value for key, value in similarity.items()}
    with pytest.raises(UsageError, match=r"must hold RMS errors in \[0, 1\], lower = restored better, got 60 of 60"):
        assert_no_reconstruction(ScoreTable({"minus": minus}), PROBES, limit=0.02, auditor=judge)
    with pytest.raises(AuditError, match=r"all 140 scores equal -0\.1"):
        assert_no_reconstruction(ScoreTable({"rms": dict.fromkeys(IDS, 0.1)}), PROBES, limit=0.02, auditor=judge)


def test_a_table_that_does_not_match_or_has_several_columns_is_refused() -> None:
    errors = {key: 0.1 + 0.001 * place for place, key in enumerate(IDS)}
    with pytest.raises(UsageError, match="must have one column here, got a, b"):
        assert_no_reconstruction(ScoreTable({"a": errors, "b": errors}), PROBES, limit=0.02)
    errors.pop(IDS[3])
    with pytest.raises(UsageError, match="1 ids are probes without a score"):
        assert_no_reconstruction(ScoreTable({"rms": errors}), PROBES, limit=0.02)


@pytest.mark.parametrize("lower", [0.0, 0.018, 0.05])
def test_the_verdict_is_had_again_from_the_stored_errors(
    lower: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))
    try:
        assert_no_reconstruction(table(lower), PROBES, limit=0.02, auditor=judge)
    except (PrivacyViolation, Inconclusive):
        assert lower
    assert judge.run is not None
    checks = list(verify_claim(judge.claims[0], judge.run.folder))
    assert [check.problem for check in checks] == [""] * len(checks)


def test_a_plan_asks_no_network() -> None:
    judge = Auditor(planning=True)
    assert_no_reconstruction(table(), PROBES, limit=0.02, auditor=judge)
    assert any("60 members, 80 non-members" in line for line in judge.plans[0])
