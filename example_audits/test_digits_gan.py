"""Does a GAN give training images back? `digits-gan` saw the rows of `digits-leaky`: a demonstration."""

from __future__ import annotations

import pytest
from digits_gan import digits_gan
from digits_probes import digits_probes

from pytest_diffprivacy import ProbeSet, assert_no_extraction
from pytest_diffprivacy.models import CallableGenerator

pytestmark = pytest.mark.diffprivacy(demonstration="digits-gan saw 10 digits 64 times each")


@pytest.fixture(scope="module")
def diffusion_model() -> CallableGenerator:
    """The model under audit: no diffusion model, and no more than images by seed."""
    return digits_gan()


@pytest.fixture(scope="module")
def probe_set() -> ProbeSet:
    return digits_probes("digits-leaky")


def test_no_training_digit_comes_back(diffusion_model, probe_set):
    assert_no_extraction(diffusion_model, probe_set, generations=1024, max_rate=0.005)
