"""Several attacks in one claim, and what a reader sees of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from pytest_diffprivacy import (
    Auditor,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    Verdict,
    assert_mia_tpr_below,
)
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.errors import ClaimNotProven
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.membership import lira_attack, loss_measure, train_shadows
from pytest_diffprivacy.membership.drc.restored_images import STRIPS_A_SIDE
from pytest_diffprivacy.models import AnalyticDenoiser, PixelDiffusion, ideal_denoiser
from pytest_diffprivacy.probes import ImageSet
from tests.claims.conftest import smooth_images

POLICY = {"max_fpr": 0.05, "limit": 0.2}


def judged(*arguments: object, **options: object) -> Claim:
    try:
        return assert_mia_tpr_below(*arguments, **options)
    except ClaimNotProven as error:
        return error.claim


def test_a_family_reports_each_attack_and_passes_only_if_all_do(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = assert_mia_tpr_below(population, probes, attack=["loss", "secmi", "pia"], **POLICY)
    assert claim.verdict is Verdict.PASS
    assert [method.name for method in claim.methods] == ["loss", "secmi", "pia"]
    names = [estimate.name for estimate in claim.also_measured]
    assert names[:3] == ["AUROC: Denoising loss", "AUROC: SecMI (statistic)", "AUROC: PIA"]
    highs = [estimate.high for estimate in claim.also_measured if estimate.name.startswith("TPR")]
    assert claim.high == max(highs)
    assert len(claim.curves) == len(claim.histograms) == 3


def test_timesteps_are_members_of_the_family(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = judged(population, probes, attack="sima", parameters={"timestep": [50, 100, 200]}, **POLICY)
    assert [method.name for method in claim.methods] == ["sima timestep 50", "sima timestep 100", "sima timestep 200"]
    assert [method.timesteps[0].requested for method in claim.methods] == [50, 100, 200]
    assert any("One family of 3 attacks" in note for note in claim.notes)
    alone = judged(population, probes, attack="sima", parameters={"timestep": 100}, **POLICY)
    (own,) = [e for e in claim.also_measured if e.name.startswith("TPR") and e.name.endswith("timestep 100")]
    assert (own.value, own.high) == (alone.value, alone.high)
    assert claim.low <= max(
        judged(population, probes, attack="sima", parameters={"timestep": t}, **POLICY).low for t in (50, 100, 200)
    )
    with pytest.raises(UsageError, match="at least one value for timestep"):
        judged(population, probes, attack="sima", parameters={"timestep": []}, **POLICY)


def test_the_scores_of_a_family_are_those_of_its_attacks_alone(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    family = judged(population, probes, attack=["secmi", "pia"], **POLICY)
    for name in ("AUROC: SecMI (statistic)", "AUROC: PIA"):
        alone = judged(population, probes, attack="pia" if "PIA" in name else "secmi", **POLICY)
        (together,) = [estimate for estimate in family.also_measured if estimate.name == name]
        assert together.value == pytest.approx(alone.also_measured[0].value, abs=1e-12)


def test_attacks_share_their_first_prediction_and_the_record_says_what_they_cost(
    memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    claim = judged(memorizing, probes, attack=["secmi", "pia", "pian"], **POLICY)
    assert "cost 13 network evaluations an image (15 if each ran alone)" in " ".join(claim.notes)


def test_all_says_what_it_left_out_and_why(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    few = ProbeSet(probes.members.load(range(40)), probes.nonmembers.load(range(40)))
    claim = judged(population, few, attack="all", parameters={"loss": {"draws": 2}}, **POLICY)
    notes = " ".join(claim.notes)
    assert "CLiD (threshold) was left out: it needs the images' prompts" in notes
    assert "DRC-style (degrade, restore, compare) was left out: it costs 1000 network evaluations" in notes
    assert "LiRA, Ratio attack (RMIA) and GSA need shadow models" in notes
    assert {"loss", "secmi", "pia", "pian", "sima", "pfami", "rediffuse"} == {m.name for m in claim.methods}
    assert claim.methods[0].parameters["draws"] == "2"


def test_an_undecided_family_says_how_many_probes_its_correction_needs(memorizing: AnalyticDenoiser) -> None:
    images = smooth_images(11, 820)
    split = ProbeSet(images[:20], images[400:800])
    claim = judged(memorizing, split, attack=["loss", "pia", "sima", "secmi"], max_fpr=0.01, limit=0.02)
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert "At least 437 non-members are needed" in " ".join(claim.notes)  # ln(0.05 / 8) / ln(0.99)


def test_a_combination_is_cross_fitted_and_says_so(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_tpr_below(memorizing, probes, attack=["loss", "pia"], combine=True, **POLICY)
    assert "no image is scored by a model that saw its label" in " ".join(caught.value.claim.notes)


def test_a_combination_hides_no_attack_that_finds_members_alone() -> None:
    """One attack finds a fifth of the members, the other ranks the middle: together they find hardly any."""
    rng, n = np.random.default_rng(0), 300
    tail = np.where(np.arange(n) % 5 == 0, 2.0, 0.0) + rng.normal(0.0, 0.5, n), rng.normal(0.0, 0.5, n)
    top = np.arange(n) % 8 == 0
    middle = rng.uniform(0.5, 1.0, n), np.where(top, rng.uniform(1.2, 1.6, n), rng.uniform(-2.5, 0.4, n))
    ids = [f"{role} {i}" for role in ("member", "non-member") for i in range(n)]
    columns = {"tail": tail, "middle": middle}
    table = ScoreTable(
        {name: dict(zip(ids, np.concatenate(pair).tolist(), strict=True)) for name, pair in columns.items()}
    )
    images = rng.random((2 * n, 1, 2, 2))
    judge = Auditor()
    with pytest.raises(PrivacyViolation):
        assert_mia_tpr_below(
            table, ProbeSet(images[:n], images[n:], near=0.0), attack="all", combine=True, max_fpr=0.05, limit=0.13,
            auditor=judge,
        )  # fmt: skip
    (claim,) = judge.claims
    alone = {e.name.rpartition(": ")[2]: e for e in claim.also_measured if e.name.startswith("TPR")}
    assert alone["combined"].high <= 0.13 < alone["tail (scores made elsewhere)"].low


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": ["pia", "pia"]}, r"none twice, got \['pia', 'pia'\]"),
        ({"attack": []}, "at least one attack"),
        ({"attack": 3}, "must be a name, an Attack, a callable or a list of them, got int"),
        ({"attack": "pia", "combine": True}, "Name at least two attacks"),
        ({"attack": ["pia", "loss"], "parameters": {"p": 2}}, r"by attack \(pia, loss\), got p"),
        (
            {"attack": ["pia", "loss"], "parameters": {"pia": {"draws": 2}}},
            "among timestep, p, .* for pia, got draws",
        ),
    ],
)
def test_a_family_that_makes_no_sense_is_refused(
    population: AnalyticDenoiser, probes: ProbeSet, options: Mapping[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        assert_mia_tpr_below(population, probes, **POLICY, **options)


def test_lira_with_shadow_models_is_an_attack_like_any_other() -> None:
    images = smooth_images(7, 80)
    pool = ImageSet.of(images, "image")
    torch_images = torch.from_numpy(pool.load(range(len(pool))))
    measure = loss_measure(timesteps=(100,), draws=4, flip=False)
    (shadows,) = train_shadows(
        pool, lambda indices, seed: ideal_denoiser(torch_images[indices]), [measure], recipe="ideal", models=8
    )
    target = ideal_denoiser(torch_images[:40])
    split = ProbeSet(pool.load(range(40)), pool.load(range(40, 80)))
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_tpr_below(target, split, attack=lira_attack(shadows), max_fpr=0.1, limit=0.2)
    claim = caught.value.claim
    assert claim.methods[0].title == "LiRA, 8 shadow models"
    assert claim.also_measured[0].value > 0.99


def test_restorations_are_shown_for_ten_members_and_ten_others(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    few = ProbeSet(probes.members.load(range(30, 60)), probes.nonmembers.load(range(30, 60)))
    settings = {"restorations": 2, "steps": 5, "masks": ("left",)}
    shown = {}
    for policy in ("none", "redacted", "full"):
        claim = judged(memorizing, few, attack="drc", parameters=settings, auditor=Auditor(images=policy), **POLICY)
        shown[policy] = claim.strips
        control = claim.also_measured[0]
        assert control.name == "AUROC of restoration without the model"
        assert control.low < 0.5 < control.high
        assert "does not separate the two sides" in claim.notes[0]
    assert shown["none"] == ()
    assert [strip.mark for strip in shown["full"]] == ["member"] * STRIPS_A_SIDE + ["non-member"] * STRIPS_A_SIDE
    labels = [picture.label for picture in shown["full"][0].pictures]
    assert labels == ["original", "degraded: left", "restored (median of the draws)"]
    assert {(p.width, p.height) for s in shown["redacted"] for p in s.pictures} == {(2, 2)}
    assert {(p.width, p.height) for s in shown["full"] for p in s.pictures} == {(6, 6)}


@pytest.mark.slow
def test_a_family_of_restorations_keeps_its_controls_and_its_pictures(
    memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    few = ProbeSet(probes.members.load(range(30, 60)), probes.nonmembers.load(range(30, 60)))
    settings = {"restorations": [2, 3], "steps": 5, "masks": ("left",)}
    claim = judged(memorizing, few, attack="drc", parameters=settings, auditor=Auditor(images="full"), **POLICY)
    assert [method.label for method in claim.methods] == ["restorations 2", "restorations 3"]
    names = [estimate.name for estimate in claim.also_measured]
    assert names.count("AUROC of restoration without the model") == 2
    assert len([note for note in claim.notes if "does not separate the two sides" in note]) == 2
    assert claim.strips_title
    shown = [strip.caption.rpartition(" at best of ")[2] for strip in claim.strips]
    assert shown == ["2 restorations"] * 2 * STRIPS_A_SIDE + ["3 restorations"] * 2 * STRIPS_A_SIDE


def test_prompts_of_the_probes_reach_the_model_and_the_cache_key(tmp_path_factory) -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
        num_class_embeds=3,
    )
    model = PixelDiffusion(unet, DDPMScheduler(clip_sample=False), null_label=2)
    images = np.random.default_rng(0).uniform(size=(60, 8, 8)).astype(np.float32)
    areas, folder = {}, tmp_path_factory.mktemp("store")
    for labels in (None, [0] * 30, [1] * 30):
        split = ProbeSet(images[:30], images[30:], member_prompts=labels, nonmember_prompts=labels)
        judge = Auditor(engine=Engine(Store(folder)))
        areas[str(labels)[:2]] = judged(model, split, attack="secmi", auditor=judge, **POLICY).also_measured[0].value
    assert len(set(areas.values())) == 3
    split = ProbeSet(images[:30], images[30:], member_prompts=[0] * 30, nonmember_prompts=[1] * 30)
    claim = judged(model, split, attack=["clid", "pia"], parameters={"clid": {"reductions": 0}}, **POLICY)
    assert {method.name for method in claim.methods} == {"clid", "pia"}


def test_a_prompt_for_every_image_is_needed() -> None:
    images = np.zeros((4, 1, 8, 8))
    with pytest.raises(UsageError, match=re.escape("member prompts must be one for each of the 4 images, got 3")):
        ProbeSet(images, images, member_prompts=[1, 2, 3], nonmember_prompts=[0] * 4)
    with pytest.raises(UsageError, match="Give `nonmember_prompts`"):
        ProbeSet(images, images, member_prompts=[1, 2, 3, 4]).check_prompts()
