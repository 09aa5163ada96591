"""Every claim carries what is needed to judge it again without the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy import (
    Auditor,
    ProbeSet,
    assert_dataset_not_inferable,
    assert_epsilon_lower_bound_below,
    assert_erased,
    assert_finetune_adds_no_leak,
    assert_finetune_not_extractable,
    assert_mia_tpr_below,
    assert_no_extraction,
    assert_no_reconstruction,
    assert_not_closer_to_members,
    assert_sharpness_below,
    assert_usage_share_below,
    plant_canaries,
)
from pytest_diffprivacy.audit.catalogue import known_methods
from pytest_diffprivacy.errors import ClaimNotProven
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.evidence.verify import verify_claim
from pytest_diffprivacy.statistics import Detector, Verdict
from tests.claims.conftest import mixture, smooth_images
from tests.claims.test_usage_share import losses as suspect_losses


def people(probes: ProbeSet) -> ProbeSet:
    """The same probes, of which always two show one person."""
    sides = probes.members, probes.nonmembers
    names = tuple([f"{side.role} {i // 2}" for i in range(side.source_count)] for side in sides)
    return ProbeSet(*sides, subjects=names)


CLAIMS: dict[str, Callable[..., Claim]] = {
    "one attack": lambda m, p, a: assert_mia_tpr_below(m, p, attack="loss", max_fpr=0.05, limit=0.2, auditor=a),
    "a family": lambda m, p, a: assert_mia_tpr_below(m, p, attack=["loss", "sima"], max_fpr=0.05, limit=0.2, auditor=a),
    "combined": lambda m, p, a: assert_mia_tpr_below(
        m, p, attack=["loss", "sima"], combine=True, max_fpr=0.05, limit=0.2, auditor=a
    ),
    "fine-tune": lambda m, p, a: assert_finetune_adds_no_leak(
        mixture(smooth_images(3, 5)), m, p, max_fpr=0.05, limit=0.2, parameters={"draws": 2}, auditor=a
    ),
    "too few": lambda m, p, a: assert_mia_tpr_below(m, p, attack="loss", max_fpr=0.001, limit=0.2, auditor=a),
    "extraction": lambda m, p, a: assert_no_extraction(
        m, p, generations=64, steps=4, max_false_match_rate=0.1, max_rate=0.2, auditor=a
    ),
    "extraction that may stop": lambda m, p, a: assert_no_extraction(
        m, p, generations=300, steps=2, max_false_match_rate=0.1, max_rate=0.2, early_stop=True, auditor=a
    ),
    "reconstruction": lambda m, p, a: assert_no_reconstruction(
        m, p, images=20, draws=2, keep=1, steps=4, loss_draws=2, limit=0.02, auditor=a
    ),
    "replication": lambda m, p, a: assert_not_closer_to_members(m, p, generations=64, steps=4, limit=0.6, auditor=a),
    "corrected extraction": lambda m, p, a: assert_no_extraction(
        m,
        p,
        generations=64,
        steps=4,
        max_false_match_rate=0.1,
        max_rate=0.2,
        detector=Detector(detected=45, copies=50, false_alarms=0, others=100),
        auditor=a,
    ),
    "sharpness": lambda m, p, a: assert_sharpness_below(m, p, reference_quantile=0.95, limit=0.2, auditor=a),
    "one run": lambda m, p, a: assert_epsilon_lower_bound_below(
        m,
        plant_canaries(p.nonmembers.load(range(5)), p.members.load(range(100)), seed=3).canaries,
        claimed_epsilon=0.2,
        delta=1e-5,
        auditor=a,
    ),
    "usage share": lambda m, p, a: assert_usage_share_below(
        suspect_losses(0.1)[0], None, references=suspect_losses(0.1)[1], limit=0.4, auditor=a
    ),
    "persons": lambda m, p, a: assert_mia_tpr_below(
        m, people(p), attack="loss", max_fpr=0.05, limit=0.2, unit="subject", auditor=a
    ),
    "extraction by person": lambda m, p, a: assert_no_extraction(
        m, people(p), generations=64, steps=4, max_false_match_rate=0.1, max_rate=0.2, unit="subject", auditor=a
    ),
    "erasure": lambda m, p, a: assert_erased(
        m, forget=p.members, never_seen=p.nonmembers, margin=0.2, parameters={"draws": 2}, auditor=a
    ),
    "fine-tune extraction": lambda m, p, a: assert_finetune_not_extractable(
        None, *np.random.default_rng(4).random((2, 60)), limit=0.5, auditor=a
    ),
    "dataset": lambda m, p, a: assert_dataset_not_inferable(
        *(np.random.default_rng([2, side]).normal(side, 1.0, (60, 5)) for side in (0, 1)), max_effect=0.2, auditor=a
    ),
}


@pytest.fixture
def judge(outside_pytest: Path, tmp_path_factory: pytest.TempPathFactory) -> Auditor:
    return Auditor(run=RunFolder(tmp_path_factory.mktemp("evidence"), "run"))


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("model", ["memorizing", "population"])
@pytest.mark.slow
def test_a_claim_is_judged_again_from_its_stored_arrays(name, model, judge, probes, request):
    with contextlib.suppress(ClaimNotProven):
        CLAIMS[name](request.getfixturevalue(model), probes, judge)
    (claim,) = judge.claims
    for method in claim.methods:
        rows = [r for r in known_methods() if (r.kind, r.name) == (method.kind or claim.kind, method.family)]
        assert rows or any(r.claim == claim.name for r in known_methods())
    assert judge.run is not None
    checks = list(verify_claim(claim, judge.run.folder))
    assert [check.problem for check in checks] == [""] * len(checks)
    assert checks[-1].subject == f"verdict of {claim.id}: {claim.verdict.value}"
    assert claim.recipe is not None
    assert not checks[-1].note
    other = Verdict.PASS if claim.verdict is Verdict.FAIL else Verdict.FAIL
    forged = claim.model_copy(update={"verdict": other})
    assert list(verify_claim(forged, judge.run.folder))[-1].problem
