"""The latent-dimension mask: reference values of the authors' code, the exact Jacobian, and attacks that use it."""

import re

import numpy as np
import pytest
import torch

from pytest_diffprivacy import Inconclusive, ProbeSet, assert_mia_auroc_below
from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.membership import (
    LatentMask,
    latent_mask,
    latent_stretch,
    loss_scores,
    pia_scores,
    secmi_scores,
    sima,
    sima_scores,
)
from pytest_diffprivacy.membership import latent_mask as named
from pytest_diffprivacy.membership.latent_mask import _stretches, kept
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.models.scoring import image_batches
from tests.membership.second_golden import CAPTIONS, assert_agrees, golden, golden_input, golden_keys
from tests.models.builders import binary_images, memorizer, smooth_images
from tests.models.text_builders import golden_pipeline, golden_text_model

GROUP = "latent_mask"
DTYPES = (torch.float32, torch.float64)
precisions = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def images():
    return (golden_input(GROUP, "vae_images").double() + 1) / 2


@precisions
def test_the_stretch_is_that_of_the_authors_code(dtype):
    model, probes = golden_text_model(dtype=dtype), golden_input(GROUP, "vae_probes")
    assert_agrees(GROUP, "mask.z", model.encode(images()).cpu(), dtype)
    for count in (8, 16):
        assert_agrees(GROUP, f"mask.c.mc{count}", latent_stretch(model, images(), probes[:, :count]), dtype)
    unscaled = latent_stretch(model, images(), probes) - np.log(1 / 0.18215)
    assert_agrees(GROUP, "mask.c_unscaled.mc16", unscaled, dtype)


def test_the_mask_is_that_of_the_authors_code_ties_and_ends_included():
    c = latent_stretch(golden_text_model(), images(), golden_input(GROUP, "vae_probes"))
    for drop in (40, 70):
        assert_agrees(GROUP, f"mask.keep.drop{drop}", latent_mask(c, drop / 100).astype(float))
    assert latent_mask(c, 0.4).sum(1).tolist() == [153] * 4  # 103 of 256 dropped: the threshold is one of the values
    assert latent_mask(c, 0.0).all()


def test_the_exact_stretch_and_its_mask_are_those_of_the_whole_jacobian():
    model = golden_text_model()
    c = latent_stretch(model, images(), exact=True)
    assert_agrees(GROUP, "formula_mask.c_exact", c, torch.float64)
    assert_agrees(GROUP, "formula_mask.keep_exact.drop40", latent_mask(c).astype(float))
    scores = [sima_scores(model, images(), timestep=10 * i, prompts=CAPTIONS, latent_mask=LatentMask(exact=True))
              for i in range(3)]  # fmt: skip
    expected = golden(GROUP)["float64/formula_mask.sima_exact.drop40"][:3].numpy()
    np.testing.assert_allclose(-np.stack(scores), expected, rtol=1e-5)


@pytest.fixture
def published_masks(monkeypatch):
    """The masks of the reference values' own probes."""
    c = latent_stretch(golden_text_model(), images(), golden_input(GROUP, "vae_probes"))
    module = latent_stretch.__globals__
    monkeypatch.setitem(module, "_remembered", lambda *_: list(c))


@precisions
@pytest.mark.slow
@pytest.mark.usefixtures("published_masks")
def test_masked_attacks_are_those_of_the_authors_code(dtype):
    model, x, noise = golden_text_model(dtype=dtype), images(), golden_input(GROUP, "mask_loss_noise")
    if dtype == torch.float64:  # the code adds noise by the roots in float64 of the table in float32
        model = load_model(golden_pipeline(), dtype=dtype)
    for key in [key for key in golden_keys(GROUP) if re.fullmatch(r"mask\.(sima|pia|loss|secmi)\.drop\d+", key)]:
        _, attack, drop = key.split(".")
        given = {"prompts": CAPTIONS, "latent_mask": LatentMask(drop=int(drop[4:]) / 100)}
        score = {
            "sima": lambda t, g=given: sima_scores(model, x, timestep=t, **g),
            "pia": lambda t, g=given: pia_scores(model, x, timestep=t, **g),
            "loss": lambda t, g=given: loss_scores(model, x, timesteps=[t], p=4, noise=noise[t // 10], **g),
            "secmi": lambda t, g=given: secmi_scores(model, x, timestep=t, **g),
        }[attack]
        rows = len(golden(GROUP)[f"float32/{key}"]) if dtype == torch.float64 else 3
        assert_agrees(GROUP, key, -np.stack([score(10 * row) for row in range(rows)]), dtype, rows)


@pytest.mark.slow
def test_sixteen_probes_estimate_the_exact_stretch():
    model = golden_text_model()
    exact, drawn = latent_stretch(model, images(), exact=True), latent_stretch(model, images())
    assert (drawn - exact).std() == pytest.approx(0.18, abs=0.05)
    assert abs((drawn - exact).mean()) < 0.1
    assert (latent_mask(drawn) != latent_mask(exact)).mean() < 0.2


def test_a_mask_is_computed_once_an_image_and_rows_belong_to_their_images():
    _stretches.clear()
    model, x = golden_text_model(), images()
    whole = sima_scores(model, x, latent_mask=LatentMask())
    assert len(_stretches) == 4
    known = dict(_stretches)
    alone = sima_scores(
        model, x.flip(0), batch_size=1, latent_mask=LatentMask()
    )  # the code mixes rows of small batches
    np.testing.assert_allclose(alone[::-1], whole, rtol=1e-9)
    pia_scores(model, x, latent_mask=LatentMask())
    assert all(known[key] is _stretches[key] for key in known)
    assert len(_stretches) == 4


def test_controls_keep_as_many_dimensions():
    (batch,) = image_batches(golden_text_model(), images())
    masks = {choice: kept(batch, LatentMask(choice=choice)) for choice in ("stretched", "random", "inverse")}
    assert all(mask.flatten(1).sum(1).tolist() == [153.0] * 4 for mask in masks.values())
    other = kept(batch, LatentMask(choice="random", seed=1))
    assert not torch.equal(masks["random"], other)
    assert ((masks["stretched"] + masks["inverse"]) == 2).float().mean() < 0.25


def test_a_model_without_a_decoder_is_refused_and_so_is_a_bad_mask():
    model, x = memorizer(binary_images(4, 1)), binary_images(4, 2)
    with pytest.raises(
        ModelError, match="The latent-dimension mask needs a latent model with a differentiable decoder"
    ):
        sima_scores(model, x, latent_mask=LatentMask())
    with pytest.raises(UsageError, match=r"`latent_mask` must be a membership.LatentMask or None, got 0.4"):
        sima_scores(model, x, latent_mask=0.4)
    for bad in ({"drop": 1.0}, {"probes": 0}, {"choice": "largest"}):
        with pytest.raises(UsageError, match=f"`{next(iter(bad))}` must be"):
            LatentMask(**bad)
    with pytest.raises(UsageError, match=r"`c` must be finite numbers \(images, dimensions\), got shape \(3,\)"):
        latent_mask([1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match=r"`probes` must have shape \(4, probes, 768\), got \(4, 16, 3\)"):
        latent_stretch(golden_text_model(), images(), np.zeros((4, 16, 3)))
    assert named is latent_mask


@pytest.mark.slow
def test_a_claim_shows_what_random_masks_gain_as_well():
    members, others = (smooth_images(12, seed, side=16, channels=3) for seed in (1, 2))
    probes = ProbeSet(members.numpy(), others.numpy())
    model = golden_text_model(dtype=torch.float32)  # untrained: nothing can be concluded from it
    with pytest.raises(Inconclusive, match="denoises no better than a blur") as caught:
        assert_mia_auroc_below(model, probes, attack=sima(latent_mask=LatentMask(probes=2)), limit=0.95)
    claim = caught.value.claim
    names = [one.name for one in claim.also_measured]
    assert "AUROC gained by the latent-dimension mask" in names
    assert "AUROC gained over the best of 3 random masks" in names
    assert any("153 of 256 latent dimensions of each image were kept" in note for note in claim.notes)
