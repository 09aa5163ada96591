"""CLiD: known answers on a model that knows images by their captions, and on a network with a null class."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.membership.clid import (
    UNSCALED,
    ClidTerms,
    clid,
    clid_scores,
    clid_terms,
    fit_clid_scale,
    shortened,
)
from pytest_diffprivacy.models import Conditioning, NoiseSchedule
from pytest_diffprivacy.models.class_conditional import PixelDiffusion
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.statistics import auroc
from tests.membership.grey_box import evaluations
from tests.models.builders import binary_images, population_model, smooth_images, tiny_unet

SHAPE, TIMES = (1, 8, 8), [50, 150]
MEMBERS, OTHERS = binary_images(12, 1), binary_images(12, 2)
CAPTIONS = [" ".join(f"{letter}{i}" for letter in "uvwxyz") for i in range(24)]  # six words that no other image has
OWN, FOREIGN = CAPTIONS[:12], CAPTIONS[12:]


class Captioned:
    """A text-to-image model that remembers images by caption: f of the caption's words bring back f of the image."""

    identity = ModelIdentity("captioned", "hand-written", "captioned", 0, "float64", "cpu", "grey box")
    schedule = NoiseSchedule.linear()
    sample_shape = image_shape = SHAPE
    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self, images, captions):
        self.memory = {
            w: x / len(c.split()) for x, c in zip(self.encode(images), captions, strict=True) for w in c.split()
        }

    def condition(self, prompts, count):
        nothing = torch.zeros(SHAPE, dtype=torch.float64)
        captions = [""] * count if prompts is None else prompts
        images = [sum((self.memory.get(w, nothing) for w in c.split()), nothing) for c in captions]
        return Conditioning({"image": torch.stack(images)})

    def predict_eps(self, x_t, timestep, conditioning=None):
        alpha, sigma = self.schedule.at(timestep)
        return (x_t - alpha * conditioning["image"]) / sigma

    def encode(self, images):
        return images.double() * 2 - 1

    def decode(self, x0):
        return (x0 + 1) / 2


def model():
    return Captioned(MEMBERS, OWN)


def snr_times_pixels(times=TIMES):
    """The loss of a guess of zero for an image of -1 and 1: ||alpha x0 / sigma||^2, mean over timesteps."""
    return float(np.mean([64 * (a / s) ** 2 for a, s in map(Captioned.schedule.at, times)]))


def test_the_terms_of_a_remembered_pair_are_known():
    terms = clid_terms(model(), MEMBERS, prompts=OWN, timesteps=TIMES)
    loss = snr_times_pixels()
    for difference in terms.differences[:3]:  # a third of the words is missing, and so is a third of the image
        np.testing.assert_allclose(difference, loss / 9, rtol=1e-9)
    np.testing.assert_allclose(terms.differences[3], loss, rtol=1e-9)
    np.testing.assert_allclose(terms.gain, loss / 3, rtol=1e-9)
    np.testing.assert_allclose(terms.fit, 0, atol=1e-9)


def test_an_unknown_pair_gains_nothing_from_its_caption():
    terms = clid_terms(model(), OTHERS, prompts=FOREIGN, timesteps=TIMES)
    np.testing.assert_allclose(terms.differences, 0, atol=1e-9)
    np.testing.assert_allclose(terms.fit, -snr_times_pixels(), rtol=1e-9)


def test_without_a_scale_the_terms_are_added_as_they_are():
    given = {"prompts": OWN, "timesteps": TIMES}
    terms = clid_terms(model(), MEMBERS, **given)
    expected = 0.9 * terms.differences.mean(0) + 0.1 * terms.fit
    np.testing.assert_allclose(clid_scores(model(), MEMBERS, **given), expected, rtol=1e-12)


def test_a_model_that_remembers_captions_gives_its_members_away():
    found = [clid_scores(model(), MEMBERS, prompts=OWN), clid_scores(model(), OTHERS, prompts=FOREIGN)]
    assert auroc(*found).value > 0.99


def test_members_asked_about_with_other_captions_are_not_recognised():
    scores = clid_scores(model(), MEMBERS, prompts=FOREIGN)
    np.testing.assert_allclose(scores, -0.1 * snr_times_pixels([166, 500, 833]), rtol=1e-9)


def test_all_prompts_of_an_image_see_the_same_noise_of_the_images_own_stream():
    network = classes_model()
    given = {"prompts": [0, 1, 2], "timesteps": TIMES}
    images = smooth_images(3, 7)
    drawn = clid_scores(network, images, seed=9, **given)
    noise = probe_noise(images, 2, SHAPE, seed=9)
    np.testing.assert_array_equal(drawn, clid_scores(network, images, noise=noise, **given))
    null = clid_terms(network, images, prompts=[4, 4, 4], timesteps=TIMES)
    np.testing.assert_allclose(null.differences, 0, atol=1e-9)


def classes_model(null_label=4):
    unet = tiny_unet(3, classes=5)
    with torch.no_grad():  # class embeddings that matter
        unet.class_embedding.weight.mul_(5)
    return PixelDiffusion(unet, DDPMScheduler(), null_label=null_label, dtype=torch.float64)


@torch.no_grad()
def test_a_class_index_is_compared_with_the_null_class_alone():
    network, images, labels = classes_model(), smooth_images(3, 7), [0, 3, 1]
    noise = probe_noise(images, 2, SHAPE, seed=0)
    terms = clid_terms(network, images, prompts=labels, timesteps=TIMES, noise=noise)

    def loss(i, label):  # the naive twin: an image, a class and a timestep at a time
        total = 0.0
        for t, eps in zip(TIMES, noise, strict=True):
            alpha, sigma = network.schedule.at(t)
            x_t = alpha * network.encode(images[i : i + 1]) + sigma * eps[i]
            total += float((network.predict_eps(x_t, t, network.condition([label], 1)) - eps[i]).square().sum())
        return total / len(TIMES)

    assert terms.differences.shape == (1, 3)
    np.testing.assert_allclose(terms.differences[0], [loss(i, 4) - loss(i, c) for i, c in enumerate(labels)], rtol=1e-7)
    np.testing.assert_allclose(terms.fit, [-loss(i, c) for i, c in enumerate(labels)], rtol=1e-9)


def test_a_batch_scores_as_its_images_do_alone():
    network, images = classes_model(), smooth_images(3, 7)
    given = {"prompts": [0, 3, 1], "timesteps": TIMES}
    np.testing.assert_allclose(
        clid_scores(network, images, **given), clid_scores(network, images, batch_size=1, **given), rtol=1e-8
    )


def test_an_image_costs_the_evaluations_that_the_record_names():
    assert evaluations(model(), clid_scores, MEMBERS, prompts=OWN) == clid.evaluations(clid.defaults) == 15
    chosen = {**clid.defaults, "prompts": [0, 3, 1], "timesteps": TIMES}
    assert evaluations(classes_model(), clid_scores, smooth_images(3, 7), **chosen) == clid.evaluations(chosen) == 4


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a b c d e f", ["c d e f", "a b e f", "a b c d"]),
        ("a b c d", ["b c d", "a c d", "a b"]),
        ("a b", ["b", "b", "a"]),
        ("a", ["", "", ""]),
        ("", ["", "", ""]),
    ],
)
def test_a_shortened_caption_lacks_a_third_of_its_words_and_at_least_one(caption, expected):
    assert shortened(caption, 3) == expected


def terms(gain, fit, *, digest="shadow", images=()):
    return ClidTerms(np.asarray(gain, dtype=float)[None], np.asarray(fit, dtype=float), digest, tuple(images))


def test_a_scale_takes_the_mean_and_the_interquartile_range_of_calibration_data():
    rng = np.random.default_rng(5)
    gain, fit = rng.gamma(2.0, 3.0, 41), rng.normal(-50.0, 9.0, 41)
    scale = fit_clid_scale(terms(gain, fit), weight=0.7)
    q = [np.sort(v)[30] - np.sort(v)[10] for v in (gain, fit)]  # 41 values: the quartiles are the 11th and the 31st
    expected = 0.7 * (2.0 - gain.mean()) / q[0] + 0.3 * (-40.0 - fit.mean()) / q[1]
    assert scale.apply(np.array([2.0]), np.array([-40.0]))[0] == pytest.approx(expected)


def test_the_weight_is_the_best_one_of_a_shadow_models_own_labels():
    rng = np.random.default_rng(6)
    inside, noise = np.arange(80) < 40, rng.normal(size=80)
    assert fit_clid_scale(terms(noise, inside + 0.1 * noise**2), members=inside).weight < 0.5
    assert fit_clid_scale(terms(inside + 0.1 * noise**2, noise), members=inside).weight > 0.5


def test_a_scale_from_other_images_or_a_shadow_model_is_applied():
    given = {"prompts": OWN + FOREIGN, "timesteps": TIMES}
    everything = torch.cat([MEMBERS, OTHERS])
    calibration = clid_terms(model(), everything, **given)
    measured = clid_terms(model(), 1 - MEMBERS, prompts=OWN, timesteps=TIMES)
    scale = fit_clid_scale(calibration)
    found = clid_scores(model(), 1 - MEMBERS, prompts=OWN, timesteps=TIMES, scale=scale)
    np.testing.assert_allclose(found, scale.apply(measured.gain, measured.fit))
    elsewhere = replace(scale, model="a shadow model")
    assert np.isfinite(clid_scores(model(), everything, scale=elsewhere, **given)).all()


def test_a_scale_never_sees_the_images_that_are_scored():
    given = {"prompts": OWN + FOREIGN, "timesteps": TIMES}
    everything = torch.cat([MEMBERS, OTHERS])
    scale = fit_clid_scale(clid_terms(model(), everything, **given))
    with pytest.raises(UsageError, match="images that are not scored: 12 of 12 were used to fit it on this model"):
        clid_scores(model(), MEMBERS, prompts=OWN, timesteps=TIMES, scale=scale)


def test_the_scale_does_not_change_the_order_within_one_term():
    gain = np.arange(20.0)
    scale = replace(fit_clid_scale(terms(gain, gain**2)), weight=1.0)
    assert all(a < b for a, b in pairwise(scale.apply(gain, 0 * gain)))
    assert UNSCALED.weight == 0.9


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "`prompts` must be given: CLiD compares each image's own prompt with shorter ones, got None"),
        ({"prompts": OWN[:5]}, "one prompt for each of the 12 images, got 5"),
        ({"prompts": [*OWN[:11], 3]}, "all texts or all class indices, got 11 texts"),
        ({"prompts": OWN, "reductions": -1}, "`reductions` must be at least 0, got -1"),
        ({"prompts": OWN, "noise": torch.zeros(2, 12, *SHAPE)}, "one draw for each of the 3 timesteps, got 2"),
        ({"prompts": OWN, "timesteps": [5, 5]}, "distinct"),
    ],
)
def test_a_bad_argument_is_named(parameters, message):
    with pytest.raises(UsageError, match=message):
        clid_scores(model(), MEMBERS, **parameters)


def test_models_without_prompts_or_without_a_null_class_are_refused():
    with pytest.raises(ModelError, match="population is unconditional, but 3 prompts were given"):
        clid_scores(population_model(SHAPE), smooth_images(3, 7), prompts=["a", "b", "c"])
    with pytest.raises(ModelError, match="no null label"):
        clid_scores(classes_model(null_label=None), smooth_images(3, 7), prompts=[0, 3, 1])


@pytest.mark.parametrize(
    ("calibration", "parameters", "message"),
    [
        (terms([1, 1, 1], [1, 2, 3]), {}, "must have a spread in its gain, got an interquartile range of 0"),
        (terms([1, 2, 3], [1, 1, 1]), {}, "must have a spread in its fit"),
        (terms([1, 2, 3], [1, 2, 3]), {"weight": 1.5}, "`weight` must be between 0 and 1, got 1.5"),
        (terms([1, 2, 3], [1, 2, 3]), {"members": [1, 0, 1]}, "`members` must be 3 booleans, got dtype int64"),
        (terms([1, 2, 3], [1, 2, 3]), {"members": [True, False]}, r"3 booleans, got dtype bool and shape \(2,\)"),
    ],
)
def test_a_calibration_that_is_none_is_refused(calibration, parameters, message):
    with pytest.raises(UsageError, match=message):
        fit_clid_scale(calibration, **parameters)
