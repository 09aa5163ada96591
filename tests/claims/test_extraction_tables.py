"""Extraction judged from similarities that were measured elsewhere."""

from __future__ import annotations

from typing import Any

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
    assert_no_extraction,
)
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.verify import verify_claim
from pytest_diffprivacy.extraction import PromptSearch
from pytest_diffprivacy.statistics import Detector

BOUNDS: dict[str, Any] = {"copy_from": 0.6, "max_rate": 0.01}


def generations(copies: int, *, mean: float = 0.3, count: int = 1000) -> ScoreTable:
    """So many of them copies, 0.9 alike; the others as alike as unseen images, or by this mean."""
    similarities = np.random.default_rng(2).normal(mean, 0.05, count)
    similarities[:copies] = 0.9
    return ScoreTable({"sscd": {f"{i:05d}.png": value for i, value in enumerate(similarities.tolist())}})


def unseen(count: int = 700) -> ScoreTable:
    similarities = np.random.default_rng(3).normal(0.3, 0.05, count)
    return ScoreTable({"sscd": {f"{i:05d}.png": value for i, value in enumerate(similarities.tolist())}})


def test_generations_are_judged_beside_unseen_images_and_the_record_says_what_nobody_checked() -> None:
    claim = assert_no_extraction(generations(0), unseen(), auditor=Auditor(), **BOUNDS)
    assert claim.verdict is Verdict.PASS
    assert claim.high == pytest.approx(1.0 - 0.05 ** (1 / 1000))
    assert claim.sentence == (
        "Share of generations at least 0.6 alike to a training image is at most 0.01 (sscd, measured elsewhere)"
    )
    assert any("the whole training set" in note for note in claim.notes)
    assert [(control.kind, control.outcome.value) for control in claim.controls] == [
        ("split", "not applicable"), ("positive", "not applicable")
    ]  # fmt: skip
    assert "none of them, is not checked" in claim.controls[0].meaning
    with pytest.raises(PrivacyViolation) as caught:
        assert_no_extraction(generations(60), unseen(), auditor=Auditor(), **BOUNDS)
    assert caught.value.claim.value == 0.06
    assert caught.value.claim.also_measured[0].value == 0.0
    with pytest.raises(Inconclusive, match="generations would decide"):
        assert_no_extraction(generations(0, count=100), unseen(), auditor=Auditor(), **BOUNDS)


def test_a_limit_that_unseen_images_reach_is_raised_and_accuses_nobody() -> None:
    claim = assert_no_extraction(generations(0), unseen(), copy_from=0.3, max_rate=0.05, auditor=Auditor())
    assert claim.verdict is Verdict.PASS
    assert any("a generation counts as a copy from 0.4" in note for note in claim.notes)


def test_a_detector_corrects_the_rate() -> None:
    half = Detector(detected=50, copies=100, false_alarms=0, others=500)
    with pytest.raises(PrivacyViolation) as caught:
        assert_no_extraction(generations(60), unseen(), detector=half, auditor=Auditor(), **BOUNDS)
    assert caught.value.claim.value == pytest.approx(0.12, abs=0.01)
    assert caught.value.claim.also_measured[-1].name == "Copies that the rule reports, uncorrected"


def test_a_column_of_distances_is_no_pass_unless_the_rule_is_known_to_find_copies() -> None:
    judge = Auditor()
    with pytest.raises(Inconclusive, match="a column of distances, lower = closer, would look the same"):
        assert_no_extraction(generations(0, mean=0.1), unseen(), auditor=judge, **BOUNDS)
    finds = Detector(detected=100, copies=100, false_alarms=0, others=1000)
    claim = assert_no_extraction(generations(0, mean=0.1), unseen(), detector=finds, auditor=judge, **BOUNDS)
    assert claim.verdict is Verdict.PASS
    equal = [ScoreTable({"sscd": {f"{name} {i}": 0.5 for i in range(700)}}) for name in ("made", "unseen")]
    with pytest.raises(AuditError, match=r"all 1400 scores equal 0\.5"):
        assert_no_extraction(*equal, auditor=judge, **BOUNDS)
    assert judge.claims[-1].verdict is Verdict.ERROR


def test_too_few_unseen_images_decide_nothing_and_the_plan_says_so() -> None:
    with pytest.raises(Inconclusive, match="from 500 unseen images, half of which are the control: at least 598"):
        assert_no_extraction(generations(0), unseen(500), auditor=Auditor(), **BOUNDS)
    judge = Auditor(planning=True)
    assert_no_extraction(generations(0), unseen(500), auditor=judge, **BOUNDS)
    assert any("at least 598 unseen images are needed" in line for line in judge.plans[0])
    assert_no_extraction(generations(0), unseen(), auditor=judge, **BOUNDS)
    assert any("1000 generations, 700 unseen images" in line for line in judge.plans[1])


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(UsageError, match="`copy_from` must be the similarity from which a generation is a copy"):
        assert_no_extraction(generations(0), unseen(), max_rate=0.01)
    images = np.random.default_rng(0).random((4, 1, 4, 4))
    for probes in (None, ProbeSet(images[:2], images[2:])):
        with pytest.raises(UsageError, match="`probes` must be a ScoreTable of unseen images"):
            assert_no_extraction(generations(0), probes, **BOUNDS)
    with pytest.raises(UsageError, match="got the generations' own"):
        assert_no_extraction(unseen(), unseen(), **BOUNDS)
    with pytest.raises(UsageError, match="`search` must be left out"):
        assert_no_extraction(generations(0), unseen(), search=PromptSearch(edge_threshold=0.1), **BOUNDS)
    with pytest.raises(UsageError, match="`copy_from` must be left out"):
        assert_no_extraction(object(), None, **BOUNDS)
    with pytest.raises(UsageError, match="`probes` must be a ProbeSet, got ScoreTable"):
        assert_no_extraction(object(), unseen(), max_rate=0.01)


@pytest.mark.parametrize("copies", [0, 10, 60])
@pytest.mark.parametrize("detector", [None, Detector(detected=90, copies=100, false_alarms=0, others=500)])
def test_the_verdict_is_had_again_from_the_stored_similarities(
    copies: int, detector: Detector | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    judge = Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))
    try:
        assert_no_extraction(generations(copies), unseen(), detector=detector, auditor=judge, **BOUNDS)
    except (PrivacyViolation, Inconclusive):
        assert copies
    assert judge.run is not None
    checks = list(verify_claim(judge.claims[0], judge.run.folder))
    assert [check.problem for check in checks] == [""] * len(checks)
