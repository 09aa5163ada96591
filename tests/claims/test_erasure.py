"""Images that were left out are forgotten; images that are only covered up, or still there, are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ScoreTable,
    UsageError,
    assert_erased,
)
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import recompute

RNG = np.random.default_rng(3)
FORGET, UNSEEN, REST = (torch.from_numpy(RNG.random((60, 1, 5, 5))).float() for _ in range(3))
CLEAN = ideal_denoiser(REST, name="retrained without them")
UNTOUCHED = ideal_denoiser(torch.cat([REST, FORGET]), name="untouched")
TRAININGS: list[int] = []


def learns_what_it_is_shown(images: np.ndarray, prompts: Any, seed: int) -> object:
    TRAININGS.append(seed)
    return ideal_denoiser(torch.cat([REST, torch.from_numpy(images)]), name="relearned")


def remembers_all(images: np.ndarray, prompts: Any, seed: int) -> object:
    return ideal_denoiser(torch.cat([REST, FORGET]), name="relearned after covering up")


CALL: dict[str, Any] = {
    "forget": FORGET.numpy(), "never_seen": UNSEEN.numpy(), "margin": 0.2, "parameters": {"draws": 4},
    "recipe": "shown them once",
}  # fmt: skip


def test_a_model_retrained_without_the_images_has_forgotten_them() -> None:
    claim = assert_erased(
        CLEAN, before=UNTOUCHED, relearn=learns_what_it_is_shown, generations=60, steps=10, max_copies=0.1,
        auditor=Auditor(), **CALL,
    )  # fmt: skip
    assert claim.high is not None
    assert claim.high <= 0.0
    named = [one.name for one in claim.also_measured]
    assert sum("allowed" in name for name in named) == 3
    before = next(one for one in claim.also_measured if one.name == "AUROC before the erasure")
    assert before.value > 0.9
    assert not any(note.startswith("Not tried") for note in claim.notes)


def test_an_untouched_model_has_not() -> None:
    with pytest.raises(PrivacyViolation, match="The images were not forgotten"):
        assert_erased(UNTOUCHED, auditor=Auditor(), **CALL)


def test_images_that_are_only_covered_up_come_back_by_relearning() -> None:
    assert assert_erased(CLEAN, before=UNTOUCHED, auditor=Auditor(), **CALL).verdict == "PASS"
    with pytest.raises(PrivacyViolation) as caught:
        assert_erased(CLEAN, before=UNTOUCHED, relearn=remembers_all, auditor=Auditor(), **CALL)
    assert "relearning the other half" in " ".join(caught.value.claim.notes)


def test_images_that_are_known_too_little_betray_themselves() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(PrivacyViolation):
        assert_erased(
            None, forget=rng.normal(-3, 1, 80), never_seen=rng.normal(0, 1, 80), margin=0.2, auditor=Auditor()
        )
    claim = assert_erased(
        None, forget=rng.normal(0, 1, 200), never_seen=rng.normal(0, 1, 200), margin=0.15, auditor=Auditor()
    )
    assert any(note.startswith("Not tried") for note in claim.notes)


def test_few_images_show_no_equivalence() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(Inconclusive):
        assert_erased(None, forget=rng.normal(size=12), never_seen=rng.normal(size=12), margin=0.1, auditor=Auditor())


def test_an_attack_that_found_nothing_before_proves_nothing_afterwards() -> None:
    with pytest.raises(Inconclusive, match="does not recognise the images before the erasure either"):
        assert_erased(CLEAN, before=ideal_denoiser(REST[:50], name="other"), auditor=Auditor(), **CALL)


def test_the_relearning_is_stored_and_not_run_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    TRAININGS.clear()
    folder = tmp_path_factory.mktemp("store")
    for _ in range(2):
        judge = Auditor(engine=Engine(store=Store(folder)))
        assert_erased(CLEAN, relearn=learns_what_it_is_shown, auditor=judge, **CALL)
    assert len(TRAININGS) == 1


def test_scores_of_a_table_are_judged_as_well() -> None:
    ids = [f"{role} {i}" for role in ("member", "non-member") for i in range(60)]
    rng = np.random.default_rng(4)
    scores = ScoreTable({"mine": dict(zip(ids, rng.normal(size=120).tolist(), strict=True))})
    sets = ImageSet.of(FORGET.numpy(), "member"), ImageSet.of(UNSEEN.numpy(), "non-member")
    claim = assert_erased(scores, forget=sets[0], never_seen=sets[1], margin=0.3, auditor=Auditor())
    assert claim.recipe is not None
    assert claim.recipe.statistic == "erasure"


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="`recipe` must name"):
        assert_erased(CLEAN, relearn=remembers_all, **CALL | {"recipe": ""})
    with pytest.raises(UsageError, match="`margin` must be below"):
        assert_erased(CLEAN, **CALL | {"margin": 0.6})
    with pytest.raises(UsageError, match="the audited one again"):
        assert_erased(CLEAN, relearn=lambda images, prompts, seed: CLEAN, auditor=Auditor(), **CALL)


def test_200_models_at_the_margin_pass_and_fail_at_most_as_often_as_the_confidence_says() -> None:
    """True AUROC 0.6 at margin 0.1: neither a PASS nor a FAIL is right."""
    rng, passed, failed, shift = np.random.default_rng(8), 0, 0, 0.3583
    for _ in range(200):
        stored = {"forget": [rng.normal(shift, 1, 100)], "never_seen": [rng.normal(0, 1, 100)]}
        found = recompute("erasure", stored, {"margin": 0.1, "confidence": 0.95})
        passed, failed = passed + (found.high <= 0), failed + (found.low > 0)
    assert passed <= 18
    assert failed <= 18
