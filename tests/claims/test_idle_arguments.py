"""An argument that has no part in the numbers that are judged is refused, and never dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    Auditor,
    PrivacyViolation,
    ProbeSet,
    ScoreTable,
    UsageError,
    assert_epsilon_lower_bound_below,
    assert_erased,
    assert_finetune_adds_no_leak,
    assert_finetune_not_extractable,
    assert_mia_auroc_below,
    assert_mia_tpr_below,
    assert_no_extraction,
    assert_no_memorized_prompts,
    assert_no_reconstruction,
    assert_not_closer_to_members,
    assert_sharpness_below,
    claims,
)
from pytest_diffprivacy.distances.embeddings import pixel_embedding
from pytest_diffprivacy.extraction import PromptSearch
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.probes import plant_canaries
from pytest_diffprivacy.statistics import Detector
from tests.claims.conftest import smooth_images

RNG = np.random.default_rng(1)
FIRST, SECOND = RNG.normal(size=60), RNG.normal(size=60)
IMAGES = RNG.random((120, 1, 4, 4))
PROBES = ProbeSet(IMAGES[:60], IMAGES[60:])
IDS = [f"{role} {i}" for role in ("member", "non-member") for i in range(60)]
TABLE = ScoreTable({"mine": dict(zip(IDS, np.abs(RNG.normal(size=120)).tolist(), strict=True))})
SEARCH = PromptSearch(prompts=["a"], images=10, edge_threshold=0.1)

ASKED: dict[str, Any] = {
    "attack": "pia", "parameters": {"nonsense": 1}, "own_generations": 9, "before": object(), "relearn": print,
    "recipe": "words", "generations": 77, "steps": 7, "delta": 0.3, "max_copies": 0.3, "prompts": ["a"],
    "guidance_scale": 3.0, "embedding": pixel_embedding(), "early_stop": True, "control": object(), "base": object(),
    "prompt": "a", "images": 3, "w": 0.5, "k": 0.5, "mask": "right", "draws": 3, "keep": 3, "restoration": "ddnm",
    "loss_draws": 3, "timestep": 3, "reference": object(), "statistic": "lid", "images_per_prompt": 9,
    "sampling_steps": 9, "detector": "tiled_l2", "reference_quantile": 0.8, "max_false_match_rate": 0.3,
}  # fmt: skip
"""A value of each argument that no claim has as its default."""

ATTACKED, GENERATED = ["parameters", "own_generations"], ["generations", "steps", "embedding"]
RESTORED = ["mask", "images", "draws", "keep", "restoration", "steps", "loss_draws", "timestep"]
DRAWN = ["base", "prompt", "embedding", "control", "images", "generations", "w", "k", "steps"]
ERASED = ["parameters", "before", "relearn", "recipe", "generations", "steps", "delta", "max_copies"]
WATCHED = ["images_per_prompt", "sampling_steps", "guidance_scale", "parameters"]
CANARIES = plant_canaries(IMAGES[40:], IMAGES[:40], seed=1).canaries

Call = tuple[Callable[..., Any], dict[str, Any], list[str]]
CALLS: dict[str, Call] = {
    "TPR of arrays": (
        assert_mia_tpr_below, {"model": FIRST, "probes": SECOND, "limit": 0.5}, ["attack", *ATTACKED],
    ),
    "TPR of a table": (assert_mia_tpr_below, {"model": TABLE, "probes": PROBES, "limit": 0.5}, ATTACKED),
    "AUROC of arrays": (
        assert_mia_auroc_below, {"model": FIRST, "probes": SECOND, "limit": 0.8}, ["attack", *ATTACKED],
    ),
    "AUROC of a table": (assert_mia_auroc_below, {"model": TABLE, "probes": PROBES, "limit": 0.8}, ATTACKED),
    "epsilon of an array": (
        assert_epsilon_lower_bound_below,
        {"model": FIRST[:40], "canaries": CANARIES, "claimed_epsilon": 1.0, "delta": 0.0}, ["attack", "parameters"],
    ),
    "erasure of arrays": (
        assert_erased, {"model": None, "forget": FIRST, "never_seen": SECOND}, ["attack", *ERASED],
    ),
    "erasure of a table": (
        assert_erased, {"model": TABLE, "forget": PROBES.members, "never_seen": PROBES.nonmembers}, ERASED,
    ),
    "erasure without generations": (
        assert_erased, {"model": object(), "forget": PROBES.members, "never_seen": PROBES.nonmembers},
        ["steps", "delta", "max_copies"],
    ),
    "increase of tables": (
        assert_finetune_adds_no_leak, {"base": TABLE, "finetuned": TABLE, "probes": PROBES, "limit": 0.5},
        ["parameters"],
    ),
    "similarities of arrays": (
        assert_finetune_not_extractable, {"base": None, "finetuned": FIRST, "probes": SECOND, "limit": 0.5}, DRAWN,
    ),
    "similarities of a table": (
        assert_finetune_not_extractable, {"base": None, "finetuned": TABLE, "probes": PROBES, "limit": 0.5}, DRAWN,
    ),
    "copies of arrays": (
        assert_no_extraction, {"model": FIRST, "probes": SECOND, "copy_from": 0.9, "max_rate": 0.5},
        [*GENERATED, "delta", "early_stop"],
    ),
    "copies of a table": (
        assert_no_extraction, {"model": TABLE, "probes": TABLE, "copy_from": 0.9, "max_rate": 0.5},
        [*GENERATED, "delta", "early_stop"],
    ),
    "copies by prompts": (
        assert_no_extraction, {"model": object(), "probes": None, "search": SEARCH, "max_rate": 0.5},
        ["generations", "max_false_match_rate", "embedding"],
    ),
    "prompts of arrays": (
        assert_no_memorized_prompts, {"model": FIRST, "prompts": None, "reference": SECOND, "limit": 0.5},
        ["detector", "prompts", *WATCHED],
    ),
    "prompts of a table": (
        assert_no_memorized_prompts, {"model": TABLE, "prompts": IDS[:60], "reference": IDS[60:], "limit": 0.5},
        WATCHED,
    ),
    "errors of arrays": (
        assert_no_reconstruction, {"model": abs(FIRST) / 9, "probes": abs(SECOND) / 9, "limit": 0.5},
        ["reference", *RESTORED],
    ),
    "errors of a table": (assert_no_reconstruction, {"model": TABLE, "probes": PROBES, "limit": 0.5}, RESTORED),
    "counts of arrays": (
        assert_not_closer_to_members, {"model": FIRST, "probes": SECOND}, [*GENERATED, "prompts", "guidance_scale"],
    ),
    "counts of a table": (
        assert_not_closer_to_members, {"model": TABLE, "probes": PROBES}, [*GENERATED, "prompts", "guidance_scale"],
    ),
    "closeness without prompts": (
        assert_not_closer_to_members, {"model": object(), "probes": PROBES}, ["guidance_scale"],
    ),
    "sharpness of arrays": (
        assert_sharpness_below, {"model": FIRST, "probes": SECOND, "limit": 0.5},
        ["statistic", "images_per_prompt", "timestep", "reference"],
    ),
    "sharpness of a table": (
        assert_sharpness_below, {"model": TABLE, "probes": PROBES, "limit": 0.5},
        ["images_per_prompt", "timestep", "reference"],
    ),
    "sharpness above a value": (
        assert_sharpness_below, {"model": object(), "probes": PROBES, "limit": 0.5, "sharp_above": 1.0},
        ["reference_quantile"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_has_no_part_is_refused_by_its_name(name: str) -> None:
    claim, call, idle = CALLS[name]
    for argument in idle:
        with pytest.raises(UsageError, match=f"`{argument}` must be left out "):
            claim(**call | {argument: ASKED[argument]}, auditor=Auditor())


def test_every_argument_of_every_claim_has_a_part_or_is_refused_where_numbers_are_given() -> None:
    """What is left of a signature is what this list says that each source takes; a new argument must be thought of."""
    everywhere = {"limit", "confidence", "auditor"}
    taken: dict[str, set[str]] = {
        "TPR of arrays": {"combine", "max_fpr", "unit", "sequential"},
        "AUROC of arrays": {"unit", "sequential"},
        "epsilon of an array": {"claimed_epsilon", "delta", "mechanism", "guesses"},
        "erasure of arrays": {"forget", "never_seen", "margin"},
        "increase of tables": {"attack", "max_fpr", "control", "base"},
        "similarities of arrays": {"copy_from"},
        "copies of arrays": {"copy_from", "max_rate", "max_false_match_rate", "detector", "search", "unit"},
        "prompts of arrays": {"reference", "reference_quantile"},
        "errors of arrays": set(),
        "counts of arrays": set(),
        "sharpness of arrays": {"reference_quantile", "sharp_above"},
    }
    seen = {}
    for name, more in taken.items():
        claim, _, idle = CALLS[name]
        own = {p.name for p in signature(claim).parameters.values() if p.kind is Parameter.KEYWORD_ONLY}
        assert own - set(idle) - everywhere == more - {"base"}, name
        seen[claim.__name__] = name
    judged_otherwise = {  # from features, references or a comparison, of which every argument has a part
        "assert_dataset_not_inferable", "assert_usage_share_below", "assert_mitigation_keeps_alignment",
        "assert_mitigation_reduces_copies",
    }  # fmt: skip
    assert {one for one in claims.__all__ if one.startswith("assert_")} == set(seen) | judged_otherwise


def test_what_is_left_at_its_default_or_says_nothing_is_taken() -> None:
    claim = assert_mia_auroc_below(
        FIRST, SECOND, limit=0.8, attack="secmi", own_generations=0, parameters={}, auditor=Auditor()
    )
    assert claim.verdict == "PASS"
    with pytest.raises(UsageError, match=r"`before` \(and `relearn`, `generations`\) must be left out"):
        assert_erased(None, forget=FIRST, never_seen=SECOND, before=object(), relearn=print, generations=3, recipe="")
    detector = Detector(detected=45, copies=50, false_alarms=0, others=100)
    with pytest.raises(UsageError, match="`detector` must be left out where prompts are searched"):
        assert_no_extraction(object(), None, search=SEARCH, max_rate=0.5, detector=detector)


@pytest.mark.parametrize("claim", [assert_mia_tpr_below, assert_mia_auroc_below])
def test_a_claim_that_ends_early_shows_what_one_at_once_shows(claim: Callable[..., Any]) -> None:
    images = smooth_images(31, 240)
    probes = ProbeSet(images[:120], images[120:])
    model = ideal_denoiser(torch.from_numpy(images[:120]))
    shown = {}
    for sequential in (True, False):
        judge = Auditor()
        with pytest.raises(PrivacyViolation):
            claim(
                model, probes, attack="sima", limit=0.5, own_generations=12, auditor=judge,
                sequential=sequential, **({"max_fpr": 0.1} if claim is assert_mia_tpr_below else {}),
            )  # fmt: skip
        shown[sequential] = judge.claims[0]
    for one in shown.values():
        assert any("Control against likelihood" in note or "own generations" in note for note in one.notes)
        assert any(estimate.name.endswith("minus that of the blind baseline") for estimate in one.also_measured)
    assert any("is not listed" in note for note in shown[True].notes)


def test_the_control_against_likelihood_asks_about_the_images_that_were_scored(population: AnalyticDenoiser) -> None:
    images = smooth_images(32, 1200)
    judge = Auditor()
    claim = assert_mia_auroc_below(
        population, ProbeSet(images[:600], images[600:]), attack="sima", limit=0.65, own_generations=20,
        sequential=True, auditor=judge,
    )  # fmt: skip
    scored = len(judge.claims[0].notes) and next(e for e in claim.also_measured if "own generations" in e.name)
    assert scored.counts.startswith("20 generations, ")
    assert int(scored.counts.split()[2]) < 600
