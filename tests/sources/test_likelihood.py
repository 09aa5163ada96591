"""An attack that takes the model's own generations for members is said to measure likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import Auditor, ProbeSet, assert_mia_auroc_below
from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.errors import DiffPrivacyError
from pytest_diffprivacy.methods import resolve
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.sources.likelihood import likelihood_control

SHAPE = (1, 4, 4)


def noted(model: Any, probes: ProbeSet, attack: Any) -> tuple[str, Findings]:
    (chosen,) = resolve("membership", attack)
    sides = [torch.from_numpy(side.load(range(len(side)))) for side in (probes.members, probes.nonmembers)]
    members, others = (attack(model, side) for side in sides)
    findings = Findings()
    likelihood_control(Auditor(), model, probes, chosen, (members, others), 40, findings)
    return " ".join(findings.notes), findings


def likely(model: Any, images: torch.Tensor) -> np.ndarray:
    """Minus the distance to the middle: how likely an image is under the population."""
    return -((images - 0.5) ** 2).mean((1, 2, 3)).double().numpy()


def test_an_attack_on_likelihood_takes_generations_for_members() -> None:
    rng = np.random.default_rng(0)
    narrow, wide = (rng.uniform(0.5 - a, 0.5 + a, (80, *SHAPE)).astype(np.float32) for a in (0.3, 0.5))
    density = GaussianMixture(torch.zeros(1, 16, dtype=torch.float64), 0.01 * torch.eye(16, dtype=torch.float64)[None])
    text, findings = noted(AnalyticDenoiser(density, SHAPE), ProbeSet(narrow, wide), likely)
    assert "it measures likelihood" in text
    (own,) = findings.also_measured
    assert own.name.startswith("AUROC of own generations")
    assert own.value > 0.9


def test_generations_that_look_like_anybody_are_not_taken_for_members() -> None:
    rng = np.random.default_rng(1)
    members, others = (rng.random((60, *SHAPE)).astype(np.float32) for _ in range(2))

    def known(model: Any, images: torch.Tensor) -> np.ndarray:
        seen = (images[:, None] - torch.from_numpy(members)[None]).abs().amax((2, 3, 4)).amin(1) < 1e-6
        return seen.double().numpy() + 0.01 * images.mean((1, 2, 3)).double().numpy()

    model = ideal_denoiser(torch.from_numpy(rng.random((60, *SHAPE))))
    text, _ = noted(model, ProbeSet(members, others), known)
    assert "does not take the model's own generations for members" in text


def test_a_claim_asks_for_it_and_its_record_says_what_came_of_it() -> None:
    rng = np.random.default_rng(2)
    members, others = (rng.random((40, *SHAPE)).astype(np.float32) for _ in range(2))
    judge = Auditor()
    with pytest.raises(DiffPrivacyError):  # an ideal denoiser generates its members themselves
        assert_mia_auroc_below(
            ideal_denoiser(torch.from_numpy(members)), ProbeSet(members, others), attack="loss",
            parameters={"draws": 2}, limit=0.6, own_generations=30, auditor=judge,
        )  # fmt: skip
    (claim,) = judge.claims
    assert any("every generation copies a member" in note for note in claim.notes)
