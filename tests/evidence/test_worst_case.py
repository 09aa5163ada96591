"""Over all attacks of a run: whom any of them recognises at an observed FPR of 0."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from pytest_diffprivacy import Auditor, ProbeSet, ScoreTable, assert_mia_auroc_below, assert_mia_tpr_below
from pytest_diffprivacy.errors import DiffPrivacyError
from pytest_diffprivacy.evidence.worst_case import worst_cases

IMAGES = np.random.default_rng(0).random((200, 1, 5, 5)).astype(np.float32)
PROBES = ProbeSet(IMAGES[:100], IMAGES[100:])


def table(name: str, known: range) -> ScoreTable:
    """Scores of which those of some members lie above all others."""
    scores = np.random.default_rng(len(known)).uniform(0, 1, 200)
    scores[:100] *= 0.5
    scores[list(known)] += 2.0
    ids = [f"member {i}" for i in range(100)] + [f"non-member {i}" for i in range(100)]
    return ScoreTable({name: dict(zip(ids, scores.tolist(), strict=True))})


def test_what_different_claims_recognise_is_joined_by_id() -> None:
    judge = Auditor()
    for name, known in {"one": range(10), "other": range(5, 20)}.items():
        with contextlib.suppress(DiffPrivacyError):
            assert_mia_auroc_below(table(name, known), PROBES, limit=0.9, auditor=judge)
        with contextlib.suppress(DiffPrivacyError):
            assert_mia_tpr_below(table(name, known), PROBES, attack=name, max_fpr=0.05, limit=0.5, auditor=judge)
    assert [len(claim.recognised[0].ids) for claim in judge.claims] == [10, 10, 15, 15]
    (case,) = worst_cases(judge.claims)
    assert case.share.value == 0.2
    assert len(case.ids) == 20
    assert len(case.attacks) == 2
    assert case.share.low < 0.2 < case.share.high
    assert case.fpr == pytest.approx(4 * (1 - 0.0125**0.01))


def test_scores_without_images_name_nobody() -> None:
    judge = Auditor()
    rng = np.random.default_rng(1)
    assert_mia_auroc_below(rng.normal(size=90), rng.normal(size=90), limit=0.8, auditor=judge)
    assert worst_cases(judge.claims) == []
