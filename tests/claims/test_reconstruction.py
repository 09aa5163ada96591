from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    Verdict,
    assert_no_reconstruction,
)
from pytest_diffprivacy.evidence.records import ControlOutcome
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from tests.claims.conftest import smooth_images

FEW: dict[str, Any] = {"images": 40, "draws": 6, "keep": 2, "steps": 10, "loss_draws": 5}


def test_a_model_with_perfect_memory_is_refuted_with_pictures(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    judge = Auditor(images="full")
    with pytest.raises(PrivacyViolation, match="restores hidden parts of its training images better"):
        assert_no_reconstruction(memorizing, probes, limit=0.01, auditor=judge, **FEW)
    (claim,) = judge.claims
    assert claim.low is not None
    assert claim.low > 0.01
    assert claim.methods[0].evaluations_per_image == 6 * (10 + 5)
    names = [estimate.name for estimate in claim.also_measured]
    assert names == [
        "AUROC of minus the error",
        "Smallest error of all tries (upper bound, needs the answer): members lower by",
        "Mean error of all tries: members lower by",
    ]
    assert [strip.mark for strip in claim.strips] == ["member"] * 5 + ["non-member"] * 5
    assert [picture.label for picture in claim.strips[0].pictures] == [
        "original",
        "what is left: left",
        "restored, the model's own choice",
        "the closest of all tries (needs the answer)",
    ]
    assert [(control.name.partition(":")[0], control.outcome) for control in claim.controls] == [
        ("Split", ControlOutcome.HELD),
        ("Wiring control", ControlOutcome.NOT_APPLICABLE),
        ("Restoration without the model", ControlOutcome.HELD),
    ]


def test_members_that_are_restored_worse_beyond_chance_are_no_pass(
    memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    swapped = ProbeSet(probes.nonmembers.load(range(40)), probes.members.load(range(40)))
    with pytest.raises(AuditError, match=r"ranks members last beyond chance.* Are members and non-members swapped"):
        assert_no_reconstruction(memorizing, swapped, limit=0.05, **FEW)


def test_a_model_that_generalizes_passes(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = assert_no_reconstruction(population, probes, limit=0.05, **FEW)
    assert claim.verdict is Verdict.PASS
    assert claim.value == pytest.approx(0.0, abs=0.03)
    assert "40 members, 40 non-members, 6 restorations each" in (claim.estimate.counts if claim.estimate else "")


def test_a_reference_takes_the_images_own_difficulty_out(
    memorizing: AnalyticDenoiser, population: AnalyticDenoiser
) -> None:
    """Members are hard images here: without a reference they seem to be restored worse."""
    hard, easy = smooth_images(5, 60), (0.5 + 0.35 * (smooth_images(6, 60) - 0.5)).astype(np.float32)
    confounded, model = ProbeSet(hard, easy), ideal_denoiser(torch.from_numpy(hard))
    judge = Auditor()
    with pytest.raises(Inconclusive, match="split confounded") as caught:
        assert_no_reconstruction(model, confounded, limit=0.1, auditor=judge, **FEW)
    claim = caught.value.claim
    assert claim.controls[0].outcome is ControlOutcome.FAILED
    assert "differ without the model" in claim.controls[0].meaning
    with pytest.raises(PrivacyViolation):
        assert_no_reconstruction(model, confounded, limit=0.0, reference=population, auditor=judge, **FEW)
    paired = judge.claims[-1]
    assert paired.value is not None
    assert paired.value > (claim.value or 0.0)
    assert paired.also_measured[0].name == "Error without the reference: members lower by"
    assert "compared with a reference model" in paired.sentence


def test_few_images_are_inconclusive_and_the_message_says_how_many_would_do(
    population: AnalyticDenoiser, probes: ProbeSet
) -> None:
    with pytest.raises(Inconclusive, match="members and as many non-members would decide"):
        assert_no_reconstruction(population, probes, limit=0.005, **FEW | {"images": 12})
    with pytest.raises(Inconclusive, match="at least 10 a side"):
        assert_no_reconstruction(population, probes, limit=0.05, **FEW | {"images": 9})


def test_pictures_can_be_left_out(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = assert_no_reconstruction(population, probes, limit=0.2, auditor=Auditor(images="none"), **FEW)
    assert claim.strips == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 1.5}, "`limit` must be"),
        ({"images": 0}, "`images` must be a whole number of at least 1"),
        ({"draws": 0}, "`draws` must be a whole number"),
        ({"keep": 7}, r"`keep` must be at most `draws` \(6\), got 7"),
        ({"keep": "all"}, "`keep` must be a whole number of at least 1, got 'all'"),
        ({"mask": np.ones((8, 8), dtype=bool)}, "`mask` must be a name such as 'left' or 'random:0.3', got ndarray"),
        ({"mask": "centre"}, "`masks` must be among"),
    ],
)
def test_bad_arguments_are_refused(
    population: AnalyticDenoiser, probes: ProbeSet, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        assert_no_reconstruction(population, probes, **{"limit": 0.1} | FEW | arguments)


def test_the_audited_model_is_no_reference(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    with pytest.raises(UsageError, match="`reference` must be another model"):
        assert_no_reconstruction(population, probes, limit=0.1, reference=population, **FEW)
    with pytest.raises(UsageError, match="`probes` must be a ProbeSet, got list"):
        assert_no_reconstruction(population, [], limit=0.1)  # type: ignore[arg-type]
