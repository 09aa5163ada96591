"""PFAMI: the formula pixel by pixel, one noise for an image and its crops, and ideal denoisers."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.pfami import pfami, pfami_scores
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.statistics import auroc
from tests.membership.grey_box import evaluations
from tests.models.builders import binary_images, memorizer, population_model, smooth_images

SHAPE = (1, 4, 5)
IMAGES = smooth_images(3, 5)[:, :, :4, :5]
TIMES = [0, 60, 300]


def resized(line, size):
    """Linear interpolation along the last axis between pixel centres, as align_corners=False means it."""
    places = ((np.arange(size) + 0.5) * line.shape[-1] / size - 0.5).clip(0, line.shape[-1] - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, line.shape[-1] - 1)
    return line[..., low] * (1 - (places - low)) + line[..., high] * (places - low)


def cropped(image, strength):
    _, h, w = image.shape
    height, width = int(h * strength), int(w * strength)
    top, left = (h - height) // 2, (w - width) // 2
    crop = image[:, top : top + height, left : left + width]
    return resized(resized(crop, w).swapaxes(1, 2), h).swapaxes(1, 2)


def one_by_one(model, images, times, strengths, noise):
    """The naive twin: an image, a view and a timestep at a time."""

    def loss(image, t, eps):
        alpha, sigma = model.schedule.at(t)
        x_t = alpha * (2 * image - 1) + sigma * eps
        predicted = model.predict_eps(torch.from_numpy(x_t)[None], t)[0].numpy()
        return float(((predicted - eps) ** 2).mean())

    scores = []
    for i, image in enumerate(images.double().numpy()):
        fluctuations = [
            np.mean(
                [loss(image, t, e[i]) - loss(cropped(image, s), t, e[i]) for t, e in zip(times, noise, strict=True)]
            )
            for s in strengths
        ]
        scores.append(-np.mean(fluctuations))
    return np.array(scores)


def test_the_score_is_the_mean_growth_of_the_loss_under_cropping():
    model, noise = population_model(SHAPE), probe_noise(IMAGES, 3, SHAPE, seed=4)
    ours = pfami_scores(model, IMAGES, timesteps=TIMES, strengths=[0.9, 0.75, 0.5], noise=noise)
    np.testing.assert_allclose(ours, one_by_one(model, IMAGES, TIMES, [0.9, 0.75, 0.5], noise.numpy()), rtol=1e-9)


def test_a_crop_that_keeps_everything_changes_nothing_because_the_noise_is_shared():
    scores = pfami_scores(population_model(SHAPE), IMAGES, strengths=[1.0], seed=8)
    np.testing.assert_allclose(scores, 0.0, atol=1e-12)


def test_draw_j_of_an_images_own_stream_belongs_to_timestep_j():
    model = population_model(SHAPE)
    drawn = pfami_scores(model, IMAGES, timesteps=TIMES, seed=9)
    given = pfami_scores(model, IMAGES, timesteps=TIMES, noise=probe_noise(IMAGES, 3, SHAPE, seed=9))
    np.testing.assert_array_equal(drawn, given)
    assert not np.array_equal(drawn, pfami_scores(model, IMAGES, timesteps=TIMES, seed=10))


def test_a_batch_scores_as_its_images_do_alone():
    model = population_model(SHAPE)
    np.testing.assert_allclose(pfami_scores(model, IMAGES), pfami_scores(model, IMAGES, batch_size=1), rtol=1e-9)


def test_an_ideal_denoiser_gives_its_members_away():
    members, others = binary_images(20, 1), binary_images(20, 2)
    model = memorizer(members)
    assert auroc(pfami_scores(model, members), pfami_scores(model, others)).value > 0.99


def test_an_image_costs_the_evaluations_that_the_record_names():
    model = population_model(SHAPE)
    assert evaluations(model, pfami_scores, IMAGES) == pfami.evaluations(pfami.defaults) == 110
    chosen = {"timesteps": TIMES, "strengths": [0.9, 0.5]}
    assert evaluations(model, pfami_scores, IMAGES, **chosen) == pfami.evaluations(chosen) == 9


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"strengths": []}, "`strengths` must hold at least one crop"),
        ({"strengths": [0.9, 0.0]}, r"`strengths` must be in \(0, 1\], got 0.0"),
        ({"strengths": [1.1]}, r"`strengths` must be in \(0, 1\], got 1.1"),
        ({"strengths": [0.2]}, r"must leave at least one pixel of \(4, 5\), got 0.2"),
        ({"timesteps": []}, "`timesteps` must be at least one"),
        ({"timesteps": TIMES, "noise": torch.zeros(2, 3, *SHAPE)}, "one draw for each of the 3 timesteps, got 2"),
        ({"timesteps": TIMES, "noise": torch.zeros(3, 2, *SHAPE)}, "`noise` must have shape"),
    ],
)
def test_a_bad_argument_is_named(parameters, message):
    with pytest.raises(UsageError, match=message):
        pfami_scores(population_model(SHAPE), IMAGES, **parameters)
