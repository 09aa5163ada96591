"""A GAN that was trained on the rows of `digits-leaky` is audited by the assertion that audits diffusion models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from pytest_diffprivacy import Auditor, PrivacyViolation, assert_no_extraction
from pytest_diffprivacy.models import CallableGenerator

EXAMPLES = Path(__file__).parents[2] / "example_audits"


@pytest.fixture(scope="module")
def examples():
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def gan(examples: None) -> CallableGenerator:
    from digits_gan import digits_gan

    return digits_gan()


def test_a_gan_is_audited_like_any_other_generator(gan: CallableGenerator) -> None:
    from digits_probes import digits_probes

    judge = Auditor(images="none")
    probes = digits_probes("digits-leaky")
    with pytest.raises(PrivacyViolation) as caught:
        assert_no_extraction(gan, probes, generations=512, max_rate=0.01, auditor=judge)
    claim = caught.value.claim
    assert claim.estimate is not None
    assert 0.02 < claim.estimate.low <= claim.estimate.value <= claim.estimate.high < 0.35
    assert claim.estimate.counts == "at most 512 generations, 360 members"
    assert claim.model is not None
    assert claim.model.name == "digits-gan"
    assert len(claim.charts[0].series[0].x) == 7  # 1, 2, 4, ..., 64 repetitions


def test_it_draws_digits_and_not_one_image_for_ever(gan: CallableGenerator) -> None:
    images = gan.generate(range(64))
    assert images.shape == (64, 1, 8, 8)
    assert float(images.std(0).mean()) > 0.1


def test_the_same_seed_is_the_same_image_whatever_the_batch(gan: CallableGenerator) -> None:
    together, alone = gan.generate(range(8)), gan.generate([5])
    assert torch.allclose(together[5], alone[0], atol=1e-5)
