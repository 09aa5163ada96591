"""A broken attack ends as ERROR and never as PASS, however safe it makes the model look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    PrivacyViolation,
    ProbeSet,
    Verdict,
    assert_mia_auroc_below,
    assert_mia_tpr_below,
)
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.evidence.records import Claim, ControlOutcome
from pytest_diffprivacy.membership import ATTACKS, Attack
from pytest_diffprivacy.models import AnalyticDenoiser

POLICY = {"max_fpr": 0.05, "limit": 0.2}
EVERY = [name for name, attack in ATTACKS.items() if not attack.needs_prompts and name != "drc"]


def flipped(attack: Attack) -> Attack:
    return replace(attack, name="flipped", scores=lambda *a, **k: -attack.scores(*a, **k))


def constant(attack: Attack) -> Attack:
    return replace(attack, name="constant", scores=lambda model, images, **k: np.zeros(len(images)))


def image_only(attack: Attack) -> Attack:
    return replace(attack, name="blind", scores=lambda model, images, **k: images.double().mean((1, 2, 3)).numpy())


def error(model: object, probes: ProbeSet, **options: object) -> Claim:
    judge = Auditor()
    with pytest.raises(AuditError, match="A control failed, so its silence about the audited model proves nothing"):
        assert_mia_tpr_below(model, probes, auditor=judge, **POLICY, **options)
    (claim,) = judge.claims
    assert claim.verdict is Verdict.ERROR
    return claim


def positive(claim: Claim) -> list[ControlOutcome]:
    return [control.outcome for control in claim.controls if control.kind == "positive"]


def said(claim: Claim) -> str:
    """What the record says of the positive control: what was done, and what it means."""
    (control,) = (control for control in claim.controls if control.kind == "positive")
    return f"{control.done} {control.meaning}"


@pytest.mark.parametrize("breaking", [flipped, constant, image_only], ids=["flipped sign", "constant", "no model"])
@pytest.mark.parametrize("name", ["loss", "secmi", "sima"])
def test_an_attack_broken_on_purpose_is_an_error(
    population: AnalyticDenoiser, probes: ProbeSet, name: str, breaking: Callable[[Attack], Attack]
) -> None:
    claim = error(population, probes, attack=breaking(ATTACKS[name]))
    assert positive(claim) == [ControlOutcome.FAILED]


@pytest.mark.parametrize("timestep", [0, 500, 999])
@pytest.mark.parametrize("name", ["loss", "sima", "secmi", "pia"])
def test_a_wrong_timestep_is_an_error(population: AnalyticDenoiser, probes: ProbeSet, name: str, timestep: int) -> None:
    """At 0 there is no noise to predict, and in these 36 pixels no image is left at 500 and at 999."""
    if name == "secmi" and timestep == 0:
        pytest.skip("SecMI compares its timestep with the next one of its grid, which is none of these")
    given = {"loss": {"timesteps": (timestep,)}, "secmi": {"timestep": min(timestep, 980)}}
    claim = error(population, probes, attack=name, parameters=given.get(name, {"timestep": timestep}))
    assert positive(claim) == [ControlOutcome.FAILED]
    assert "from timestep" in said(claim)


def test_a_broken_attack_is_an_error_even_where_the_model_leaks(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = error(memorizing, probes, attack=flipped(ATTACKS["loss"]))
    assert positive(claim) == [ControlOutcome.FAILED]


def test_one_broken_attack_of_a_family_stops_the_claim(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = error(population, probes, attack=["loss", flipped(ATTACKS["sima"])])
    assert positive(claim) == [ControlOutcome.HELD, ControlOutcome.FAILED]


def test_every_published_attack_finds_the_planted_images(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = assert_mia_tpr_below(population, probes, attack=EVERY, parameters={"loss": {"draws": 2}}, **POLICY)
    assert positive(claim) == [ControlOutcome.HELD] * len(EVERY)
    negative = [control for control in claim.controls if control.kind == "negative"]
    assert [control.outcome for control in negative] == [ControlOutcome.HELD] * len(EVERY)
    assert all(control.estimate.low <= 0.5 <= control.estimate.high for control in negative)


def test_scores_made_elsewhere_say_that_they_have_no_positive_control() -> None:
    rng = np.random.default_rng(81)
    claim = assert_mia_tpr_below(rng.normal(size=300), rng.normal(size=300), **POLICY)
    (control,) = [control for control in claim.controls if control.kind == "positive"]
    assert control.outcome is ControlOutcome.NOT_APPLICABLE
    assert "made elsewhere" in control.meaning
    (split,) = [control for control in claim.controls if control.kind == "split"]
    assert split.outcome is ControlOutcome.NOT_APPLICABLE
    assert "given without their images" in split.meaning


def test_given_scores_that_rank_members_last_are_an_error_and_not_a_pass() -> None:
    rng, judge = np.random.default_rng(82), Auditor()
    with pytest.raises(AuditError, match="ranks members last beyond chance: its reverse recognises them"):
        assert_mia_tpr_below(rng.normal(-2.0, 1.0, 300), rng.normal(size=300), auditor=judge, **POLICY)
    assert judge.claims[0].verdict is Verdict.ERROR


def test_a_leak_is_a_leak_even_if_most_members_rank_last() -> None:
    rng = np.random.default_rng(83)
    members = np.concatenate([rng.normal(9.0, 1.0, 120), rng.normal(-2.0, 1.0, 180)])
    with pytest.raises(PrivacyViolation):
        assert_mia_tpr_below(members, rng.normal(size=300), **POLICY)


def test_a_function_that_fails_on_the_planted_model_is_an_error_that_says_what_it_asked_for(
    population: AnalyticDenoiser, probes: ProbeSet
) -> None:
    def own(model: AnalyticDenoiser, images: torch.Tensor) -> np.ndarray:
        assert model.density.dimension == 36
        return -model.predict_eps(model.encode(images), 90).square().sum((1, 2, 3)).numpy()

    claim = error(population, probes, attack=own)
    assert positive(claim) == [ControlOutcome.FAILED]
    assert "AttributeError" in said(claim)
    assert "or give its scores instead of the model" in said(claim)


def test_a_function_of_the_caller_is_controlled_like_any_attack(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    def brightness(model: object, images: torch.Tensor) -> np.ndarray:
        return images.mean((1, 2, 3)).numpy()

    claim = error(population, probes, attack=brightness)
    assert positive(claim) == [ControlOutcome.FAILED]


def test_a_control_is_stored_and_reused_for_another_model_of_the_same_shape(
    population: AnalyticDenoiser,
    memorizing: AnalyticDenoiser,
    probes: ProbeSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder, events = tmp_path_factory.mktemp("store"), []

    class Counted:
        def __init__(self) -> None:
            self.inner = Engine(Store(folder))

        def run(self, model, units, *, title, work):
            before = work.computed
            results = list(self.inner.run(model, units, title=title, work=work))
            events.append((model.identity.name, title.partition(":")[0], work.computed - before))
            return iter(results)

    for model in (population, memorizing):
        try:
            assert_mia_tpr_below(model, probes, attack="sima", auditor=Auditor(engine=Counted()), **POLICY)
        except PrivacyViolation:
            assert model is memorizing
    computed = {}
    for name, title, count in events:
        computed.setdefault((name, title), []).append(count)
    assert computed["no model", "checking the split"] == [1, 0]
    assert computed["planted leak", "sima"] == [1, 1, 0, 0]


@pytest.mark.parametrize(("a_side", "message"), [(9, "ranks members last"), (10, "Positive control")])
def test_where_probes_are_too_few_for_the_control_a_broken_attack_does_not_pass(
    memorizing: AnalyticDenoiser, probes: ProbeSet, a_side: int, message: str
) -> None:
    few, judge = ProbeSet(probes.members.subset(range(a_side)), probes.nonmembers.subset(range(a_side))), Auditor()
    with pytest.raises(AuditError, match=message):
        assert_mia_auroc_below(memorizing, few, attack=flipped(ATTACKS["sima"]), limit=0.7, auditor=judge)
    (claim,) = judge.claims
    assert claim.high is None or claim.high < 0.7  # the scores alone would pass
    assert claim.verdict is Verdict.ERROR


def test_a_refuted_claim_needs_no_control(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    few = ProbeSet(probes.members.subset(range(9)), probes.nonmembers.subset(range(9)))
    with pytest.raises(PrivacyViolation):
        assert_mia_auroc_below(memorizing, few, attack="sima", limit=0.6, auditor=Auditor())
