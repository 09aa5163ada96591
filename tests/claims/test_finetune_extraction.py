"""A fine-tune that gives its images back is refuted, and one that only took over a style is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    assert_finetune_not_extractable,
)
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.statistics import recompute

COUNT = 16
RNG = np.random.default_rng(0)
TUNED, OTHERS, ELSEWHERE = (torch.from_numpy(RNG.random((COUNT, 1, 6, 6))).float() for _ in range(3))
WORLD = torch.from_numpy(RNG.random((8, 1, 6, 6))).float()
CENTRED = Embedding.of(lambda x: x.flatten(1) - 0.5, name="centred pixels", version="1")
CALL: dict[str, Any] = {
    "limit": 0.25,
    "copy_from": 0.8,
    "embedding": CENTRED,
    "generations": 120,
    "steps": 20,
    "k": 0.0,
}


def probes(members: torch.Tensor = TUNED) -> ProbeSet:
    return ProbeSet(members.numpy(), OTHERS.numpy())


def test_images_that_guidance_brings_back_refute_the_claim_and_each_is_named() -> None:
    base, tuned = ideal_denoiser(WORLD), ideal_denoiser(torch.cat([WORLD, TUNED]))
    elsewhere = ideal_denoiser(torch.cat([WORLD, ELSEWHERE]), name="elsewhere")
    auditor = Auditor()
    with pytest.raises(PrivacyViolation, match="More fine-tuning images can be drawn out than allowed"):
        assert_finetune_not_extractable(base, tuned, probes(), control=elsewhere, auditor=auditor, **CALL)
    (claim,) = auditor.claims
    assert claim.value > 0.7
    assert [c.outcome for c in claim.controls if c.kind == "positive"] == ["held"]
    assert [e.value for e in claim.also_measured if e.name.startswith("Come back without")] == [0.0, 0.0]
    assert sum(row[2] == "yes" for row in claim.tables[-1].rows) == round(claim.value * COUNT)
    assert claim.recipe is not None
    assert claim.recipe.statistic == "recovered_share"


def test_members_that_the_fine_tune_never_saw_do_not_come_back() -> None:
    base, tuned = ideal_denoiser(WORLD), ideal_denoiser(torch.cat([WORLD, TUNED]))
    claim = assert_finetune_not_extractable(base, tuned, probes(ELSEWHERE), auditor=Auditor(), **CALL)
    assert claim.value == 0.0


def test_similarities_made_elsewhere_are_judged_with_the_same_bounds() -> None:
    rng = np.random.default_rng(1)
    near, far = rng.uniform(0.8, 1.0, 60), rng.uniform(0.0, 0.6, 60)
    with pytest.raises(PrivacyViolation):
        assert_finetune_not_extractable(None, near, far, limit=0.3, auditor=Auditor())
    assert assert_finetune_not_extractable(None, far, far, limit=0.3, auditor=Auditor()).value == 0.0


def test_a_table_of_similarities_says_what_the_arrays_say() -> None:
    ids = [f"{role} {i}" for role in ("member", "non-member") for i in range(COUNT)]
    far, others = RNG.uniform(0.0, 0.6, (2, COUNT))
    table = ScoreTable({"mine": dict(zip(ids, np.r_[far, others].tolist(), strict=True))})
    claim = assert_finetune_not_extractable(None, table, probes(), limit=0.3, auditor=Auditor())
    by_array = assert_finetune_not_extractable(None, far, others, limit=0.3, auditor=Auditor())
    assert (claim.value, claim.high) == (by_array.value, by_array.high)
    assert "mine" in claim.sentence


def test_a_style_that_makes_others_come_back_as_well_cannot_fail() -> None:
    same = np.full(60, 0.9)
    with pytest.raises(Inconclusive, match="explains what is above the limit"):
        assert_finetune_not_extractable(None, same, same, limit=0.3, auditor=Auditor())


def test_what_is_refused() -> None:
    base = ideal_denoiser(WORLD)
    with pytest.raises(UsageError, match="must be different models"):
        assert_finetune_not_extractable(base, base, probes(), auditor=Auditor(), **CALL)
    with pytest.raises(UsageError, match="`w` must not be 0"):
        assert_finetune_not_extractable(base, ideal_denoiser(WORLD[:4]), probes(), **CALL | {"w": 0.0})
    with pytest.raises(UsageError, match="`copy_from` must be a cosine"):
        assert_finetune_not_extractable(base, base, probes(), **CALL | {"copy_from": 2.0})


def test_200_fine_tunes_without_a_leak_are_refuted_at_most_as_often_as_the_confidence_says() -> None:
    """Members and controls come back by chance alike, at the limit itself."""
    rng, refuted = np.random.default_rng(5), 0
    for _ in range(200):
        members, others = rng.random(40), rng.random(40)
        stored = {"members": [members], "nonmembers": [others]}
        refuted += recompute("recovered_share", stored, {"copy_from": 0.8, "confidence": 0.95}).low > 0.0
    assert refuted <= 18
