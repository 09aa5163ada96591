"""A table of what a claim measured gives the claim's verdict and bounds again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_diffprivacy import (
    Auditor,
    ProbeSet,
    ScoreTable,
    assert_finetune_adds_no_leak,
    assert_no_reconstruction,
    assert_not_closer_to_members,
)
from pytest_diffprivacy.errors import ClaimNotProven
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.arrays import read_arrays
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.models import AnalyticDenoiser

FEW: dict[str, Any] = {"images": 300, "draws": 2, "keep": 1, "steps": 4, "loss_draws": 2}


@pytest.fixture
def judge(tmp_path_factory: pytest.TempPathFactory) -> Auditor:
    return Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))


def measured(judge: Auditor, asked: Callable[[], Claim]) -> tuple[Claim, dict[str, np.ndarray]]:
    """A claim, whatever its verdict, and its stored arrays."""
    try:
        claim = asked()
    except ClaimNotProven as found:
        claim = found.claim
    assert judge.run is not None
    return claim, read_arrays(judge.run.root / claim.artifacts[0].path)


def table(probes: ProbeSet, members: np.ndarray, nonmembers: np.ndarray) -> ScoreTable:
    """By the sha256 of the pixels, from the last image to the first."""
    ids = [digest.hex() for side in (probes.members, probes.nonmembers) for digest in side.digests]
    scores = np.concatenate([members, nonmembers]).tolist()
    return ScoreTable({"mine": dict(zip(ids[::-1], scores[::-1], strict=True))})


def assert_same(first: Claim, second: Claim) -> None:
    assert (first.verdict, first.value, first.low, first.high) == (
        second.verdict, second.value, second.low, second.high
    )  # fmt: skip


def test_of_a_fine_tune(
    population: AnalyticDenoiser, memorizing: AnalyticDenoiser, probes: ProbeSet, judge: Auditor
) -> None:
    options: dict[str, Any] = {"max_fpr": 0.05, "limit": 0.3, "auditor": judge}
    claim, arrays = measured(
        judge,
        lambda: assert_finetune_adds_no_leak(population, memorizing, probes, parameters={"draws": 2}, **options),
    )
    base, tuned = (
        table(probes, arrays[f"{who}member_scores"], arrays[f"{who}nonmember_scores"]) for who in ("base_", "")
    )
    again, _ = measured(judge, lambda: assert_finetune_adds_no_leak(base, tuned, probes, **options))
    assert_same(claim, again)


def test_of_a_reconstruction(
    population: AnalyticDenoiser, memorizing: AnalyticDenoiser, probes: ProbeSet, judge: Auditor
) -> None:
    claim, arrays = measured(
        judge,
        lambda: assert_no_reconstruction(memorizing, probes, reference=population, limit=0.02, auditor=judge, **FEW),
    )
    errors, others = (
        table(probes, arrays[f"{who}member_errors"][:, 0], arrays[f"{who}nonmember_errors"][:, 0])
        for who in ("", "reference_")
    )
    again, _ = measured(
        judge, lambda: assert_no_reconstruction(errors, probes, reference=others, limit=0.02, auditor=judge)
    )
    assert_same(claim, again)


@pytest.mark.parametrize("model", ["population", "memorizing"])
def test_of_closeness(model: str, probes: ProbeSet, judge: Auditor, request: pytest.FixtureRequest) -> None:
    even = ProbeSet(probes.members, probes.nonmembers.load(range(len(probes.members))))
    claim, arrays = measured(
        judge,
        lambda: assert_not_closer_to_members(
            request.getfixturevalue(model), even, generations=256, steps=8, limit=0.6, auditor=judge
        ),
    )
    nearer = arrays["training_distances"] < arrays["holdout_distances"]
    counts = table(
        even,
        np.bincount(arrays["nearest_training"][nearer], minlength=200),
        np.bincount(arrays["nearest_holdout"][~nearer], minlength=200),
    )
    again, _ = measured(judge, lambda: assert_not_closer_to_members(counts, even, limit=0.6, auditor=judge))
    assert_same(claim, again)
