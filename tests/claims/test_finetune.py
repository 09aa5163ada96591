"""What a fine-tune added to its base is found, and nothing is found where it added nothing about its own images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    Verdict,
    assert_finetune_adds_no_leak,
)
from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.evidence.records import ControlOutcome
from pytest_diffprivacy.models import AnalyticDenoiser
from pytest_diffprivacy.models.identity import Adapter
from pytest_diffprivacy.sources.controls import control_finetune
from tests.claims.conftest import mixture, smooth_images
from tests.models.builders import population_model

CALL: dict[str, Any] = {"max_fpr": 0.05, "limit": 0.15, "parameters": {"draws": 4}}


@pytest.fixture(scope="module")
def elsewhere() -> AnalyticDenoiser:
    """The same fine-tune on images that are no probes."""
    return mixture(smooth_images(12, 30))


def test_what_a_finetune_memorized_is_found_image_by_image(
    population: AnalyticDenoiser, memorizing: AnalyticDenoiser, elsewhere: AnalyticDenoiser, probes: ProbeSet
) -> None:
    judge = Auditor()
    with pytest.raises(PrivacyViolation, match="gives its training images away more often than allowed"):
        assert_finetune_adds_no_leak(population, memorizing, probes, control=elsewhere, auditor=judge, **CALL)
    (claim,) = judge.claims
    assert claim.low is not None
    assert claim.low > 0.5
    assert (claim.name, claim.terms["max_fpr"]) == ("finetune_adds_no_leak", 0.05)
    assert claim.methods[0].title == "Increase of Denoising loss over the base"
    assert claim.methods[0].evaluations_per_image == 3 * 4
    assert claim.methods[0].parameters["base"] == f"mixture {population.identity.digest}"
    assert [(c.name.partition(":")[0], c.outcome) for c in claim.controls] == [
        ("Split", ControlOutcome.HELD),
        ("Positive control", ControlOutcome.HELD),
        *[("Wiring control", ControlOutcome.NOT_APPLICABLE)] * 3,
        ("Control fine-tune", ControlOutcome.HELD),
        ("Negative control", ControlOutcome.HELD),
    ]
    assert "base's scores of the same images were subtracted" in claim.controls[1].done
    models, recognised = claim.tables
    assert [row[0] for row in models.rows] == ["base", "fine-tuned", "control"]
    assert recognised.caption.endswith("the first 20 of 200")
    gains = [float(row[1]) for row in recognised.rows]
    assert gains == sorted(gains, reverse=True)
    assert all(float(row[2]) == pytest.approx(1 / 301, abs=1e-3) for row in recognised.rows)
    assert [estimate.name for estimate in claim.also_measured][:4] == [
        "AUROC of the increase",
        "AUROC of the fine-tuned model minus that of the base",
        "TPR at FPR <= 0.05: fine-tuned model alone",
        "TPR at FPR <= 0.05: base alone",
    ]


def test_a_finetune_on_other_images_passes(
    population: AnalyticDenoiser, elsewhere: AnalyticDenoiser, probes: ProbeSet
) -> None:
    claim = assert_finetune_adds_no_leak(population, elsewhere, probes, **CALL | {"limit": 0.2})
    assert claim.verdict is Verdict.PASS
    assert claim.low is not None
    assert claim.low < 0.0


def test_too_few_probes_decide_nothing(
    population: AnalyticDenoiser, memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    with pytest.raises(Inconclusive, match=r"FPR 0\.001 from 300 non-members"):
        assert_finetune_adds_no_leak(population, memorizing, probes, **CALL | {"max_fpr": 0.001})
    few = ProbeSet(probes.members.load(range(10)), probes.nonmembers.load(range(50)))
    with pytest.raises(Inconclusive, match="at least 59 non-members, below which no lower bound exists"):
        assert_finetune_adds_no_leak(population, memorizing, few, **CALL)


def test_members_that_the_finetune_made_less_likely_cannot_pass(
    population: AnalyticDenoiser, memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    with pytest.raises(AuditError, match="Are members and non-members swapped"):
        assert_finetune_adds_no_leak(memorizing, population, probes, **CALL)


def test_an_adapter_that_changes_nothing_is_an_error(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    """As when base and fine-tuned model were made from one pipeline, which holds the adapter now."""
    same = mixture(smooth_images(0, 0))
    object.__setattr__(same.identity, "digest", "another")
    judge = Auditor()
    with pytest.raises(AuditError, match=r"every probe the same score.*Load each from a pipeline of its own"):
        assert_finetune_adds_no_leak(population, same, probes, auditor=judge, **CALL)
    assert judge.claims[0].verdict is Verdict.ERROR


def test_a_textual_inversion_that_no_caption_names_is_told_so(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    same = mixture(smooth_images(0, 0))
    token = Adapter(name="<cat> (tokenizer)", kind="textual inversion", digest="1", scale="", parameters=64)
    same.identity = replace(same.identity, digest="another", adapters=(token,))
    with pytest.raises(AuditError, match=r"no caption names <cat> \(tokenizer\)\. Give captions that do"):
        assert_finetune_adds_no_leak(population, same, probes, auditor=Auditor(), **CALL)


def test_a_control_that_separates_the_two_sides_is_an_error() -> None:
    findings = Findings()
    with pytest.raises(AuditError, match=r"Control fine-tune: Denoising loss.*differ in kind, not in membership"):
        control_finetune("Denoising loss", "other", np.arange(10.0, 30.0), np.arange(20.0), findings)
    assert findings.controls[0].outcome is ControlOutcome.FAILED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0.96}, "`limit` must be below 1 - max_fpr"),
        ({"max_fpr": 0.0}, "`max_fpr` must be"),
        ({"attack": ["loss", "sima"], "parameters": {}}, "`attack` must be one attack here"),
        ({"attack": "telepathy"}, "`attack` must be one of"),
    ],
)
def test_bad_arguments_are_refused(
    population: AnalyticDenoiser,
    memorizing: AnalyticDenoiser,
    probes: ProbeSet,
    arguments: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        assert_finetune_adds_no_leak(population, memorizing, probes, **CALL | arguments)


def test_models_that_cannot_be_compared_are_refused(
    population: AnalyticDenoiser, memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    with pytest.raises(UsageError, match="`fine-tuned` must be another model than the base one, got the same weights"):
        assert_finetune_adds_no_leak(population, population, probes, **CALL)
    with pytest.raises(UsageError, match="`control` must be another model than the fine-tuned one"):
        assert_finetune_adds_no_leak(population, memorizing, probes, control=memorizing, **CALL)
    with pytest.raises(UsageError, match="`fine-tuned` must take the base's images"):
        assert_finetune_adds_no_leak(population, population_model(), probes, **CALL)
    with pytest.raises(UsageError, match="The base of a fine-tune needs grey-box access"):
        assert_finetune_adds_no_leak(object(), memorizing, probes, **CALL)
    with pytest.raises(UsageError, match="`probes` must be a ProbeSet, got list"):
        assert_finetune_adds_no_leak(population, memorizing, [], **CALL)  # type: ignore[arg-type]
