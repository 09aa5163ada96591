"""Does the audit catch a leak? `digits-leaky` memorized what was repeated: a demonstration."""

from __future__ import annotations

from pathlib import Path

import pytest
from digits_probes import digits_probes

from pytest_diffprivacy import (
    ProbeSet,
    assert_mia_tpr_below,
    assert_no_extraction,
    assert_sharpness_below,
    load_model,
)

pytestmark = pytest.mark.diffprivacy(demonstration="digits-leaky was trained to memorize")


@pytest.fixture(scope="module")
def diffusion_model() -> object:
    return load_model(Path(__file__).parent / "digits-leaky")


@pytest.fixture(scope="module")
def probe_set() -> ProbeSet:
    return digits_probes("digits-leaky")


def test_no_training_digit_comes_back(diffusion_model, probe_set):
    assert_no_extraction(diffusion_model, probe_set, generations=1536, max_rate=0.005)


def test_a_leak_is_certain_long_before_all_generations_are_made(diffusion_model, probe_set):
    """At most 16,384 generations, as a release would want; this model needs the first look at them alone."""
    assert_no_extraction(diffusion_model, probe_set, generations=16_384, max_rate=0.005, early_stop=True)


@pytest.mark.parametrize("attack", ["loss", "secmi"])
def test_training_digits_stay_hidden(diffusion_model, probe_set, attack):
    assert_mia_tpr_below(diffusion_model, probe_set, attack=attack, max_fpr=0.01, limit=0.05, sequential=True)


def test_the_landscape_is_flat(diffusion_model, probe_set):
    assert_sharpness_below(diffusion_model, probe_set, images_per_prompt=1, limit=0.05)
