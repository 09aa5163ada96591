"""The frequency filter: reference values of the authors' code, refusals, and attacks that use it."""

import functools

import numpy as np
import pytest
import torch

from pytest_diffprivacy import ProbeSet, assert_mia_auroc_below
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership import (
    FrequencyFilter,
    clid_terms,
    frequency_filter,
    loss_scores,
    pia,
    pia_scores,
    secmi_scores,
)
from tests.membership.second_golden import CAPTIONS, assert_agrees, golden_input, golden_keys, pixel_model
from tests.models.builders import binary_images, memorizer, smooth_images
from tests.models.text_builders import golden_text_model

GROUP = "frequency_filter"
DTYPES = (torch.float32, torch.float64)
X0 = functools.partial(FrequencyFilter, space="x0")
FILTERS = {"plain": X0(scale=1.0), "filtered": X0(), "t3.s0.2": X0(half_width=3), "t5.s0": X0(scale=0.0),
           "t5.s0.5": X0(scale=0.5)}  # fmt: skip
precisions = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def keys(*starts):
    return [key for key in golden_keys(GROUP) if key.startswith(starts)]


@pytest.mark.parametrize("key", [key for key in keys("fremia.filter.") if key != "fremia.filter.8.t5.s0.2"])
def test_the_filter_is_that_of_the_authors_code(key):
    _, _, size, width, *scale = key.split(".")
    x = golden_input(GROUP, f"filter_x{size}")
    assert_agrees(GROUP, key, frequency_filter(x, int(width[1:]), float(".".join(scale)[1:])))


def test_a_filter_that_would_wrap_is_refused():
    """The authors' code damps even the mean there (fremia.filter.8.t5.s0.2)."""
    x = golden_input(GROUP, "filter_x8")
    with pytest.raises(UsageError, match=r"at most 4, half of the shorter side of 8 x 8, got 5.*band"):
        frequency_filter(x, 5, 0.2)
    np.testing.assert_allclose(frequency_filter(x, 4).mean((2, 3)), x.mean((2, 3)), atol=1e-6)


def test_a_filter_by_definition_is_the_real_part_of_weighed_frequencies():
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 9, 14)))
    h, w = (np.fft.fftfreq(n, 1 / n).round() for n in (9, 14))
    kept = ((h >= -3) & (h < 3))[:, None] & ((w >= -3) & (w < 3))[None]
    slow = np.fft.ifft2(np.fft.fft2(x.numpy()) * np.where(kept, 1.0, 0.4)).real
    np.testing.assert_allclose(frequency_filter(x, 3, 0.4), slow, atol=1e-12)


def test_a_band_is_a_fraction_of_nyquist():
    assert FrequencyFilter().fraction((3, 32, 32)) == 0.3125
    assert [FrequencyFilter(band=0.3125).width((1, side, side)) for side in (8, 16, 32, 64)] == [1, 2, 5, 10]
    assert FrequencyFilter(half_width=4).fraction((1, 16, 12)) == pytest.approx(0.667, abs=1e-3)


@precisions
@pytest.mark.parametrize("side", [16, 12, 32])
def test_pixel_scores_are_those_of_the_authors_code(side, dtype):
    model, images = pixel_model(side, dtype), (golden_input(GROUP, f"x{side}").double() + 1) / 2
    noise, times = golden_input(GROUP, f"fremia_noise_{side}").to(dtype), (100, 200, 300, 400)
    for key in keys(f"fremia.loss.{side}", f"fremia.pia.{side}", f"fremia.secmi.{side}"):
        _, attack, _, *name = key.split(".")
        used = FILTERS[".".join(name)]
        rows = {
            "loss": lambda f=used: [
                loss_scores(model, images, timesteps=[t], noise=n, frequency_filter=f)
                for t, n in zip(times, noise, strict=True)
            ],
            "pia": lambda f=used: [pia_scores(model, images, timestep=t, frequency_filter=f) for t in times],
            "secmi": lambda f=used: [
                secmi_scores(model, images, timestep=t - 100, step=100, frequency_filter=f) for t in times
            ],
        }
        assert_agrees(GROUP, key, -np.stack(rows[attack]()), dtype)


class GivenLatents:
    """The golden text model on given latents, in the place of its autoencoder's."""

    def __init__(self, latents, dtype):
        model = golden_text_model(dtype=dtype)
        for name in ("schedule", "image_shape", "device", "dtype", "identity", "predict_eps", "condition", "decode"):
            setattr(self, name, getattr(model, name))
        self.sample_shape, self._latents = tuple(latents.shape[1:]), latents.to(dtype)

    def encode(self, images):
        return self._latents[: len(images)]


def latent_case(size, dtype):
    """The model, its images, the noise, and the half-width of the reference values."""
    if size == 16:
        latents = golden_input(GROUP, "latents16")
        return GivenLatents(latents, dtype), smooth_images(4, 1, channels=3), golden_input(GROUP, "noise16"), 5
    images = (golden_input(GROUP, "vae_images").double() + 1) / 2
    return golden_text_model(dtype=dtype), images, golden_input(GROUP, "fremia_latent_noise8"), 3


@precisions
@pytest.mark.parametrize("size", [16, 8])
def test_latent_scores_are_those_of_the_authors_code(size, dtype):
    model, images, noise, width = latent_case(size, dtype)
    for name, scale in (("plain", 1.0), ("filtered", 0.2)):
        given = {"prompts": CAPTIONS, "frequency_filter": X0(half_width=width, scale=scale)}
        start = f"fremia.latent{size}"
        assert_agrees(
            GROUP, f"{start}.loss.{name}", -loss_scores(model, images, timesteps=[500], noise=noise, **given), dtype
        )
        assert_agrees(GROUP, f"{start}.pia.{name}", -pia_scores(model, images, timestep=500, p=2, **given), dtype)
        secmi = secmi_scores(model, images, timestep=100, last_step=1, **given)
        assert_agrees(GROUP, f"{start}.secmi.{name}", -secmi, dtype)


@precisions
def test_clid_is_that_of_the_authors_code_before_its_combination_and_after(dtype):
    model, images, _, _ = latent_case(16, dtype)
    noise = golden_input(GROUP, "noise16")[:3, None].expand(-1, 4, -1, -1, -1)  # the code draws once for all images
    for name, scale in (("plain", 1.0), ("filtered", 0.2)):
        used = X0(half_width=5, scale=scale)
        terms = clid_terms(
            model, images, prompts=CAPTIONS, timesteps=(485, 495, 505), noise=noise, frequency_filter=used
        )
        count = noise[0, 0].numel()
        columns = np.column_stack([-terms.fit, *terms.differences]) / count
        assert_agrees(GROUP, f"fremia.latent16.clid.{name}.losses", columns, dtype)
        assert_agrees(GROUP, f"fremia.latent16.clid.{name}.score", terms.released_fremia() / count, dtype)


def test_filtering_the_noise_ranks_as_filtering_the_image_at_one_timestep():
    model, images = memorizer(binary_images(8, 1)), smooth_images(12, 4)
    by_noise = pia_scores(model, images, frequency_filter=FrequencyFilter(band=0.5))
    by_image = pia_scores(model, images, frequency_filter=X0(band=0.5))
    alpha, sigma = model.schedule.at(200)
    np.testing.assert_allclose(by_image, by_noise * (sigma / alpha) ** 4, rtol=1e-9)


def test_a_filter_that_keeps_everything_changes_nothing():
    model, images = memorizer(binary_images(8, 1)), smooth_images(6, 4)
    kept = FrequencyFilter(band=0.25, scale=1.0)
    for scores in (functools.partial(loss_scores, draws=2, flip=True), pia_scores, secmi_scores):
        np.testing.assert_allclose(scores(model, images, frequency_filter=kept), scores(model, images), rtol=1e-9)


def test_a_filter_that_is_none_is_refused():
    model, images = memorizer(binary_images(4, 1)), binary_images(4, 2)
    with pytest.raises(UsageError, match=r"`frequency_filter` must be a membership.FrequencyFilter or None, got 5"):
        loss_scores(model, images, draws=1, frequency_filter=5)
    with pytest.raises(UsageError, match="`half_width` must be at most 4"):
        loss_scores(model, images, draws=1, frequency_filter=FrequencyFilter())
    for bad in ({"scale": 1.5}, {"half_width": 0}, {"band": 0.0}, {"space": "latents"}):
        with pytest.raises(UsageError, match=f"`{next(iter(bad))}` must be"):
            FrequencyFilter(**bad)
    with pytest.raises(UsageError, match="`last_step` must be at least 1, got 0"):
        secmi_scores(model, images, last_step=0)


def test_a_claim_shows_the_unfiltered_attack_beside_the_filtered_one():
    members, others = smooth_images(30, 1), smooth_images(30, 2)
    probes = ProbeSet(members.numpy(), others.numpy())
    attack = pia(frequency_filter=FrequencyFilter(band=0.5))
    claim = assert_mia_auroc_below(memorizer(smooth_images(8, 9)), probes, attack=attack, limit=0.9)
    measured = {one.name: one for one in claim.also_measured}
    gain, energy = (
        measured[f"AUROC {name}"] for name in ("gained by the frequency filter", "of the damped frequencies' energy")
    )
    assert energy.low <= energy.value <= energy.high
    assert gain.low <= gain.value <= gain.high
    note = next(n for n in claim.notes if n.startswith("The error was filtered"))
    assert "on a grid of 8 x 8: half-width 2, 0.50 of Nyquist, other frequencies times 0.2" in note
    assert claim.methods[0].parameters["frequency_filter"] == "0.5 of Nyquist, scale 0.2, in the space of noise"
