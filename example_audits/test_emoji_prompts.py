"""Does a prompt bring back one picture? One audit of a model that memorizes and of its clean sister."""

from __future__ import annotations

import pytest
from emoji_probes import LEAKY, RELEASE, emoji_prompts

from pytest_diffprivacy import PrivacyViolation, assert_no_memorized_prompts, load_model

leaks = pytest.mark.xfail(raises=PrivacyViolation, strict=True, reason="emoji-leaky was trained to memorize")


@pytest.mark.diffprivacy
# One of the 400 captions is longer than the 16 tokens that the models take; it was cut in training as well.
@pytest.mark.filterwarnings("ignore::pytest_diffprivacy.errors.PromptTruncated")
@pytest.mark.parametrize("folder", [pytest.param(LEAKY, marks=leaks), RELEASE], ids=lambda folder: folder.name)
def test_no_prompt_brings_back_one_picture(folder):
    assert_no_memorized_prompts(
        load_model(folder, dtype="float32"),
        emoji_prompts("exact"),
        reference=emoji_prompts("many"),
        detector="score_difference",
        reference_quantile=0.95,
        limit=0.2,
    )
