"""A LoRA trained on ten pictures gives them away beside its base, and one trained on other pictures does not."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_diffprivacy import (
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    assert_finetune_adds_no_leak,
    load_model,
)
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.evidence.records import Claim, ControlOutcome
from pytest_diffprivacy.models import TextToImage
from tests.claims.lora import emoji_pipeline, train_lora, unseen_pictures

# A caption longer than the models take was cut in their training as well.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest_diffprivacy.errors.PromptTruncated")]

MEMBERS, OTHERS = 10, 80
CALL: dict[str, Any] = {"attack": "loss", "max_fpr": 0.05, "limit": 0.0, "parameters": {"draws": 3}}


@pytest.fixture(scope="module")
def pictures() -> tuple[Any, list[str]]:
    """Ten to be learned, 80 to be left alone, ten for the control, no two of one prompt, all unseen by the base."""
    return unseen_pictures(2 * MEMBERS + OTHERS, seed=3)


@pytest.fixture(scope="module")
def fresh(pictures: tuple[Any, list[str]]) -> ProbeSet:
    images, prompts = pictures
    last = MEMBERS + OTHERS
    return ProbeSet(
        images[:MEMBERS],
        images[MEMBERS:last],
        member_prompts=prompts[:MEMBERS],
        nonmember_prompts=prompts[MEMBERS:last],
    )


@pytest.fixture(scope="module")
def base() -> TextToImage:
    return load_model(emoji_pipeline())  # type: ignore[return-value]


@pytest.fixture(scope="module")
def leaky(pictures: tuple[Any, list[str]]) -> TextToImage:
    images, prompts = pictures
    return load_model(train_lora(images[:MEMBERS], prompts[:MEMBERS], name="ten pictures", seed=1))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def control(pictures: tuple[Any, list[str]]) -> TextToImage:
    images, prompts = pictures
    last = MEMBERS + OTHERS
    return load_model(train_lora(images[last:], prompts[last:], name="other pictures", seed=2))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Scores of the base and of the control are computed once for both tests."""
    return Engine(Store(tmp_path_factory.mktemp("scores")))


def judged(engine: Engine, *models: TextToImage, probes: ProbeSet, **more: Any) -> Claim:
    judge = Auditor(engine=engine)
    with pytest.raises((PrivacyViolation, Inconclusive)):
        assert_finetune_adds_no_leak(*models, probes, auditor=judge, **CALL | more)
    return judge.claims[0]


def test_what_the_lora_memorized_is_found(
    base: TextToImage, leaky: TextToImage, control: TextToImage, fresh: ProbeSet, engine: Engine
) -> None:
    claim = judged(engine, base, leaky, probes=fresh, control=control)
    assert claim.low is not None
    assert claim.low > 0.0
    assert claim.verdict.value == "FAIL"
    assert all(c.outcome is not ControlOutcome.FAILED for c in claim.controls)
    assert {c.name.partition(":")[0] for c in claim.controls} >= {"Control fine-tune", "Positive control"}
    assert claim.model is not None
    assert [(a.name, a.kind) for a in claim.model.adapters] == [("ten pictures", "LoRA")]
    assert claim.tables[0].rows[0][3] == "none"
    assert claim.tables[0].rows[1][3].startswith("LoRA ten pictures at 1 (")


def test_a_lora_trained_on_other_pictures_shows_no_leak(
    base: TextToImage, control: TextToImage, fresh: ProbeSet, engine: Engine
) -> None:
    claim = judged(engine, base, control, probes=fresh)
    assert claim.low is not None
    assert claim.low <= 0.0
