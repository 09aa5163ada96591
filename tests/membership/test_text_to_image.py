"""Every attack on a latent text-to-image model: finite scores from each image's own prompt, whatever the batch."""

from functools import partial

import numpy as np
import pytest
import torch

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.membership import (
    ATTACKS,
    averaged_losses,
    cdi_features,
    clid_scores,
    drc_scores,
    gsa_features,
    loss_scores,
    pfami_scores,
    pia_scores,
    pian_scores,
    rediffuse_scores,
    secmi_scores,
    sima_scores,
)
from tests.models.text_builders import golden_text_model, text_inputs

COUNT = 4
FEW = {
    "loss": partial(loss_scores, timesteps=[100, 300], draws=2, flip=True),
    "secmi": partial(secmi_scores, timestep=60, step=20),
    "pia": pia_scores,
    "pian": pian_scores,
    "sima": sima_scores,
    "pfami": partial(pfami_scores, timesteps=[50, 200], strengths=[0.9]),
    "rediffuse": partial(rediffuse_scores, timestep=200, step=100, draws=2),
    "clid": partial(clid_scores, timesteps=[200, 600], reductions=2),
    "drc": partial(drc_scores, masks=("left",), restorations=2, steps=4),
    "lira": partial(averaged_losses, draws=2),
    "gsa1": partial(gsa_features, variant=1, timesteps=[100, 500]),
    "gsa2": partial(gsa_features, variant=2, timesteps=[100, 500]),
    "cdi": partial(cdi_features, features=("multiple_loss", "pia"), timesteps=[50, 200]),
}


@pytest.fixture(scope="module")
def model():
    return golden_text_model(dtype=torch.float32)


@pytest.fixture(scope="module")
def images(model):
    return torch.from_numpy(np.random.default_rng(1).random((COUNT, *model.image_shape), dtype=np.float32))


@pytest.fixture(scope="module")
def prompts():
    return text_inputs()["prompts"][:COUNT]


@pytest.mark.parametrize("name", FEW)
@pytest.mark.slow
def test_an_attack_asks_each_image_with_its_own_prompt(name, model, images, prompts):
    scores = partial(FEW[name], model, images)
    together = scores(prompts=prompts, batch_size=8)
    assert together.shape[0] == COUNT
    assert together.dtype == np.float64
    assert np.isfinite(together).all()
    np.testing.assert_allclose(scores(prompts=prompts, batch_size=1), together, rtol=2e-4, atol=1e-5)
    changed = scores(prompts=[prompts[1], prompts[0], *prompts[2:]], batch_size=8)
    np.testing.assert_allclose(changed[2:], together[2:], rtol=2e-4, atol=1e-5)
    assert not np.isclose(changed[:2], together[:2], rtol=2e-4, atol=1e-5).all()


def test_every_named_attack_that_asks_a_denoiser_is_tried():
    assert {name for name, attack in ATTACKS.items() if attack.access is not Access.BLACK_BOX} <= set(FEW)


@pytest.mark.parametrize("name", sorted(set(FEW) - {"clid"}))
@pytest.mark.slow
def test_without_prompts_the_empty_prompt_is_asked(name, model, images):
    scores = partial(FEW[name], model, images[:2])
    np.testing.assert_allclose(scores(), scores(prompts=["", ""]), rtol=2e-4, atol=1e-5)
