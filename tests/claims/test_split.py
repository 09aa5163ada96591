"""No verdict follows from a split whose sides differ without the model, and near-copies are left out on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_diffprivacy import (
    Inconclusive,
    ProbeSet,
    Verdict,
    assert_dataset_not_inferable,
    assert_mia_tpr_below,
    assert_sharpness_below,
)
from pytest_diffprivacy.evidence.records import Claim, ControlOutcome
from pytest_diffprivacy.models import AnalyticDenoiser
from tests.claims.conftest import smooth_images

POLICY = {"max_fpr": 0.05, "limit": 0.2}


@pytest.fixture(scope="module")
def confounded() -> ProbeSet:
    """The same kind of images, the non-members a little darker."""
    images = smooth_images(21, 400)
    return ProbeSet(images[:200], images[200:] * np.float32(0.97))


def split_control(claim: Claim):
    (control,) = [control for control in claim.controls if control.kind == "split"]
    return control


@pytest.mark.parametrize("claim", ["membership", "sharpness", "dataset"])
def test_a_confounded_split_is_inconclusive_and_says_what_differs(
    population: AnalyticDenoiser, confounded: ProbeSet, claim: str
) -> None:
    ask = {
        "membership": lambda: assert_mia_tpr_below(population, confounded, attack="sima", **POLICY),
        "sharpness": lambda: assert_sharpness_below(population, confounded, statistic="score_norm", limit=0.5),
        "dataset": lambda: assert_dataset_not_inferable(population, confounded, features=("loss",), max_effect=9.0),
    }[claim]
    with pytest.raises(Inconclusive, match=r"split confounded: .* They differ most in: .*brightness") as caught:
        ask()
    record = caught.value.claim
    assert record.verdict is Verdict.INCONCLUSIVE
    assert split_control(record).outcome is ControlOutcome.FAILED
    assert split_control(record).estimate.low > 0.5


def test_an_honest_split_is_recorded_with_what_it_could_have_found(
    population: AnalyticDenoiser, probes: ProbeSet
) -> None:
    claim = assert_mia_tpr_below(population, probes, attack="sima", **POLICY)
    control = split_control(claim)
    assert control.outcome is ControlOutcome.HELD
    assert "would have been found with probability 0.8" in control.meaning
    assert control.estimate.counts == "200 members, 300 non-members"


def test_the_attack_is_compared_with_the_blind_baseline_on_the_same_images(
    memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    try:
        claim = assert_mia_tpr_below(memorizing, probes, attack="sima", **POLICY)
    except AssertionError as error:
        claim = error.claim
    area, above = claim.also_measured
    assert above.name == "AUROC minus that of the blind baseline"
    assert above.value == pytest.approx(area.value - split_control(claim).estimate.value)
    assert 0.3 < above.low < above.high


def test_near_copies_across_the_split_are_left_out_and_listed(population: AnalyticDenoiser) -> None:
    images = smooth_images(22, 500)
    images[300] = (images[7] + np.float32(0.004)).clip(0.0, 1.0)
    split = ProbeSet(images[:200], images[200:], near=0.005)
    claim = assert_mia_tpr_below(population, split, attack="sima", **POLICY)
    assert [side.count for side in claim.probes] == [199, 299]
    assert "1 members and 1 non-members are near-copies of each other" in " ".join(claim.notes)
    (table,) = [table for table in claim.tables if "Near-copies" in table.caption]
    assert [row[0] for row in table.rows] == [split.members.ids()[7], split.nonmembers.ids()[100]]


def test_too_few_probes_for_a_baseline_are_said_to_be_so(population: AnalyticDenoiser) -> None:
    images = smooth_images(23, 60)
    with pytest.raises(Inconclusive) as caught:
        assert_mia_tpr_below(population, ProbeSet(images[:15], images[15:]), attack="sima", **POLICY | {"limit": 0.1})
    assert split_control(caught.value.claim).outcome is ControlOutcome.NOT_APPLICABLE
