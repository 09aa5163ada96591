"""The positive control of claims about prompts: an honest detector passes it, and one broken on purpose is an ERROR."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pytest_diffprivacy import AuditError, Auditor, Verdict, assert_no_memorized_prompts, assert_sharpness_below
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.evidence import RunFolder, Store
from pytest_diffprivacy.evidence.records import ControlOutcome
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling
from pytest_diffprivacy.methods import Kind, registry
from pytest_diffprivacy.models.planted import PlantedPrompts
from pytest_diffprivacy.sources.prompts import planted_prompts
from tests.claims.prompted import BROADS, REFERENCE, prompted_model

CLAIM = {"reference_quantile": 0.9, "limit": 0.5, "images_per_prompt": 2}


def control_of(name, sampling, **parameters):
    return planted_prompts(Auditor(), prompted_model(), DETECTORS[name](**parameters), sampling)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("hessian_score", {}),
        ("hessian_score", {"steps": 2, "squared": True}),
        ("score_difference", {"steps": 3, "form": "score"}),
        ("tiled_l2", {"reduction": "min"}),
        ("anisotropy", {"weights": (1.0, 0.1)}),
    ],
)
def test_an_honest_detector_finds_the_planted_prompts(name, parameters):
    found = control_of(name, PromptSampling(2, 20), **parameters)
    assert (found.kind, found.outcome) == ("positive", ControlOutcome.HELD)
    assert found.estimate.value >= 0.9
    assert found.estimate.counts == "10 planted prompts, 10 others"


@pytest.mark.parametrize("name", ["bright_ending", "layerwise_entropy", "attention_entropy"])
def test_a_detector_of_attention_has_none_and_the_record_says_why(name):
    found = control_of(name, PromptSampling(2, 20))
    assert (found.outcome, found.estimate) == (ControlOutcome.NOT_APPLICABLE, None)
    assert "reads cross-attention" in found.meaning


BROKEN = {
    "constant": (lambda arrays, **_: np.zeros(len(arrays["norms"])), "All scores are equal"),
    "flipped": (lambda arrays, **_: -arrays["norms"].mean((1, 2)), r"AUROC 0\.0"),
    "not a number": (lambda arrays, **_: np.full(len(arrays["norms"]), np.nan), "not all numbers"),
}


CLAIMS = {
    "memorized": partial(assert_no_memorized_prompts, detector="score_difference", reference=REFERENCE, **CLAIM),
    "sharp": partial(assert_sharpness_below, statistic="score_difference", reference=REFERENCE, **CLAIM),
    "sharp above": partial(assert_sharpness_below, statistic="score_difference", sharp_above=1e6, limit=0.5),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_detector_broken_on_purpose_is_an_error(monkeypatch, broken, claim):
    scores, message = BROKEN[broken]
    published = DETECTORS["score_difference"]
    broken = replace(published, build=lambda steps=1, form="eps": replace(published.build(), formula=scores))
    monkeypatch.setitem(registry._methods[Kind.MEMORIZATION], "score_difference", broken)
    auditor = Auditor()
    with pytest.raises(AuditError, match=f"A control failed.*{message}"):
        CLAIMS[claim](prompted_model(), BROADS, auditor=auditor)
    assert auditor.claims[0].verdict is Verdict.ERROR
    assert auditor.claims[0].controls[0].outcome is ControlOutcome.FAILED


def test_what_the_detector_saw_is_stored(tmp_path_factory, monkeypatch):
    root = tmp_path_factory.mktemp("store")
    for name in ("first", "second"):
        auditor = Auditor(engine=Engine(Store(root), RunFolder(root, name)))
        asked = DETECTORS["score_difference"]()
        assert planted_prompts(auditor, prompted_model(), asked, PromptSampling(2, 20)).outcome is ControlOutcome.HELD
        monkeypatch.setattr(PlantedPrompts, "_eps", None)  # the second time nothing is computed
