"""A copy rule made blind by unseen images: near-copies are left out, planted copies must be found."""

import contextlib

import numpy as np
import pytest

from pytest_diffprivacy import AuditError, Auditor, Inconclusive, ProbeSet, Verdict, assert_no_extraction
from pytest_diffprivacy.evidence.records import ControlOutcome
from pytest_diffprivacy.models import AnalyticDenoiser, CallableGenerator
from pytest_diffprivacy.probes import ScoreTable
from tests.claims.conftest import smooth_images

MEMBERS, UNSEEN = 60, 640
IMAGES = smooth_images(11, MEMBERS + UNSEEN)
SEED = 1


def noised(images, size, seed):
    noise = np.random.default_rng(seed).normal(0.0, size, images.shape)
    return np.clip(images + noise, 0.0, 1.0).astype(np.float32)


def split(distance=None, near=0.02):
    """Members and unseen images, every sixteenth of which is a member with noise of an RMS."""
    unseen = IMAGES[MEMBERS:].copy()
    if distance is not None:
        unseen[::16] = noised(IMAGES[:40], distance, 3)
    return ProbeSet(IMAGES[:MEMBERS], unseen, near=near)


def copies(size):
    return CallableGenerator(
        lambda prompts, seeds: np.concatenate([noised(IMAGES[[s % MEMBERS]], size, s) for s in seeds]),
        name="gives members back",
        version=f"{size}",
    )


def judged(model, probes):
    judge = Auditor(seed=SEED)
    with contextlib.suppress(Exception):
        assert_no_extraction(model, probes, generations=128, steps=2, max_rate=0.05, auditor=judge)
    return judge.claims[0]


@pytest.mark.parametrize("distance", [None, 0.01], ids=["clean", "near-copies"])
def test_near_copies_among_the_unseen_images_do_not_hide_copies(distance):
    claim = judged(copies(0.03), split(distance))
    assert claim.verdict is Verdict.FAIL
    (planted,) = [c for c in claim.controls if c.kind == "positive"]
    assert planted.outcome is ControlOutcome.HELD
    assert any("40 members and 40 non-members are near-copies" in note for note in claim.notes) is bool(distance)


def test_a_rule_that_misses_planted_copies_is_an_error_and_no_pass():
    with pytest.raises(AuditError, match=r"0 of 50 were found.*non-member .* at RMS 0\.0.*larger ProbeSet\(near="):
        assert_no_extraction(
            copies(0.03), split(0.01, near=0.0), generations=128, steps=2, max_rate=0.05, auditor=Auditor(seed=SEED)
        )


def test_copies_that_only_the_calibration_leaves_out_are_no_pass():
    with pytest.raises(Inconclusive, match=r"68 generations, but only .* of 640 unseen images, would be copies"):
        assert_no_extraction(
            copies(0.06), split(0.04), generations=128, steps=2, max_rate=0.05, auditor=Auditor(seed=SEED)
        )


def test_a_model_that_generalizes_passes_beside_near_copies(population: AnalyticDenoiser):
    assert judged(population, split(0.01)).verdict is Verdict.PASS


def test_similarities_that_only_the_calibration_leaves_out_are_no_pass():
    """Nine unseen images of 600 are training images in disguise: copies less alike than they are do not count."""
    rng = np.random.default_rng(0)
    made, unseen = rng.uniform(0.9, 0.95, 400), rng.uniform(0.2, 0.6, 600)
    bounds = {"copy_from": 0.8, "max_rate": 0.05}
    judge = Auditor(seed=SEED)
    with contextlib.suppress(Exception):
        assert_no_extraction(made, unseen, auditor=judge, **bounds)
    assert judge.claims[0].verdict is Verdict.FAIL
    unseen[:9] = 0.99
    with pytest.raises(Inconclusive, match="400 of 400 generations, but only 9 of 600 unseen images"):
        assert_no_extraction(made, unseen, auditor=Auditor(seed=SEED), **bounds)
    tables = [ScoreTable({"alike": {str(i): v for i, v in enumerate(side.tolist())}}) for side in (made, unseen)]
    with pytest.raises(Inconclusive, match="9 of 600"):
        assert_no_extraction(*tables, auditor=Auditor(seed=SEED), **bounds)
