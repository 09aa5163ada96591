from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pytest_diffprivacy import AuditError, Auditor, Inconclusive, ProbeSet, UsageError, assert_mia_auroc_below
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.errors import PrivacyViolation, ProbeError
from pytest_diffprivacy.membership import loss, loss_scores, range_attack, trimmed_mean, tune_trim
from pytest_diffprivacy.membership.ranges import augmented
from pytest_diffprivacy.models import ideal_denoiser

GOLDEN = Path(__file__).parents[1] / "golden" / "ranges"
INPUTS, EXPECTED = (load_file(GOLDEN / f"{name}.safetensors") for name in ("inputs", "expected"))
TOLD = json.loads((GOLDEN / "expected.json").read_text())
DIRECTIONS = {"bottom": "highest", "top": "lowest", "none": "all"}


@pytest.mark.parametrize("key", [key for key in EXPECTED if ".trim" in key])
def test_trimmed_means_agree_with_the_authors_code_and_with_the_formula(key: str) -> None:
    source, which, direction, *rest = key.split(".", 3)
    trim = float(rest[0].removeprefix("q")) if rest else 0.0
    scores = INPUTS["ramia_scores4" if which == "trim4" else "ramia_scores"]
    rounding: Any = "exact" if source.startswith("formula") else "published"
    found = trimmed_mean(scores, trim, DIRECTIONS[direction], rounding=rounding)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, EXPECTED[key], **TOLD["tolerances"][key])


def ratio_scores(column: int, a: float) -> np.ndarray:
    """Offline ratio of the public code with one pair of references: K = 1, ranges of four rows each."""
    signals, population = INPUTS["ramia_signals"], INPUTS["ramia_population"]
    seen = np.repeat(INPUTS["ramia_members"], 4, axis=0)
    out = np.where(~seen[:, 2:], signals[:, 2:], -np.inf).max(1)
    others = population[:, 2:].max(1)
    ratios = (signals[:, column] / ((1 + a) / 2 * out + (1 - a) / 2))[:, None]
    return (ratios > (population[:, column] / ((1 + a) / 2 * others + (1 - a) / 2))[None]).mean(1)


def area(members: np.ndarray, others: np.ndarray) -> float:
    return float((members[:, None] > others[None]).mean() + 0.5 * (members[:, None] == others[None]).mean())


def test_the_whole_audit_agrees_with_the_authors_code() -> None:
    paired = np.repeat(INPUTS["ramia_members"][:, 1], 4)
    grid = [round(0.1 * i, 1) for i in range(11)]
    a = max(grid, key=lambda one: area(ratio_scores(1, one)[paired], ratio_scores(1, one)[~paired]))
    ranges = ratio_scores(0, a).reshape(-1, 4)
    tuned = tune_trim(ratio_scores(1, a).reshape(-1, 4), INPUTS["ramia_members"][:, 1])
    assert (tuned.trim, tuned.keep) == (TOLD["ramia_audit_tuned"]["r"], DIRECTIONS[TOLD["ramia_audit_tuned"]["d"]])
    for key, trim in {"tuned": tuned.trim, "bottom.q0.5": 0.5}.items():
        np.testing.assert_allclose(trimmed_mean(ranges, trim, "highest"), EXPECTED[f"ramia.audit.{key}"], atol=1e-9)
    np.testing.assert_allclose(trimmed_mean(ranges, 0.25, "lowest"), EXPECTED["ramia.audit.top.q0.25"], atol=1e-9)


def test_the_published_rounding_that_keeps_nothing_is_refused_and_the_exact_one_keeps_one() -> None:
    scores = np.arange(10.0)
    assert trimmed_mean(scores, 0.9) == 9.0
    assert trimmed_mean(scores, 0.8) == 8.5
    with pytest.raises(UsageError, match="keeps none"):
        trimmed_mean(scores, 0.9, rounding="published")


@pytest.mark.parametrize("trim", [-0.1, 1.0, float("nan")])
def test_a_trim_that_leaves_nothing_is_refused(trim: float) -> None:
    with pytest.raises(UsageError, match="`trim` must be"):
        trimmed_mean(np.zeros(4), trim)


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1, 8, 8)).astype(np.float32)


def still(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image


def test_a_range_without_strength_is_the_inner_attack() -> None:
    images = pictures(6, 1)
    model = ideal_denoiser(torch.from_numpy(images[:3]))
    attack = range_attack(loss(draws=2), samples=3, sampler=still, include_centre=True)
    found = attack.scores(model, images, **attack.defaults)
    np.testing.assert_allclose(found, loss_scores(model, images, draws=2), rtol=1e-6)
    without = range_attack(loss(draws=2), samples=3, sampler=still)
    with pytest.raises(ProbeError, match="the image itself 20 times"):
        without.scores(model, images, **without.defaults)


def test_samples_differ_from_their_centre_and_depend_on_image_and_seed_alone() -> None:
    images = torch.from_numpy(pictures(5, 2))
    model = ideal_denoiser(images[:2])
    attack = range_attack(loss(draws=1), samples=4)
    whole = attack.scores(model, images, **attack.defaults)
    single = np.concatenate([attack.scores(model, images[[i]], **attack.defaults) for i in range(5)])
    np.testing.assert_allclose(whole, single, rtol=1e-6)
    other = range_attack(loss(draws=1), samples=4, seed=1)
    assert not np.allclose(whole, other.scores(model, images, **other.defaults))


def test_a_sample_stays_an_image() -> None:
    rng = np.random.default_rng(0)
    for image in pictures(20, 3):
        sample = augmented(image, rng, shift=0.25, brightness=0.5, flip=True)
        assert sample.shape == image.shape
        assert 0.0 <= sample.min() <= sample.max() <= 1.0


def mirrored(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nearly the image: what an attacker has who knows a training image only roughly."""
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)


def test_a_claim_about_ranges_is_judged_and_says_what_the_images_themselves_give_away() -> None:
    members, others = pictures(60, 4), pictures(60, 5)
    model = ideal_denoiser(torch.from_numpy(members))
    auditor = Auditor(engine=Engine())
    attack = range_attack(loss(draws=2), samples=4, sampler=mirrored)
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_auroc_below(model, ProbeSet(members, others), attack=attack, limit=0.7, auditor=auditor)
    claim = caught.value.claim
    assert claim.methods[0].name == "ramia"
    assert claim.methods[0].evaluations_per_image == 8
    assert any(one.name.startswith("AUROC of the images themselves") for one in claim.also_measured)
    assert any(c.kind == "positive" and c.outcome == "held" for c in claim.controls)


def test_ranges_of_a_model_without_a_leak_are_refuted_at_most_as_often_as_the_confidence_says() -> None:
    rng = np.random.default_rng(11)
    refuted = 0
    for _ in range(200):
        member, other = (trimmed_mean(rng.normal(size=(60, 8)), 0.5) for _ in range(2))
        try:
            assert_mia_auroc_below(member, other, limit=0.5, confidence=0.95)
        except PrivacyViolation:
            refuted += 1
        except (Inconclusive, AuditError):  # undecided, or refused: nothing was refuted
            pass
    assert refuted <= 18  # 10 expected, binomial upper quantile 0.99
