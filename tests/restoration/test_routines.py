"""Restoration of a hidden part: ends where the ideal denoiser must end, and puts the known part at the right level."""

from itertools import islice, pairwise

import pytest
import torch
from diffusers import DDIMScheduler

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models import AnalyticDenoiser
from pytest_diffprivacy.models.ddim import ddim_step
from pytest_diffprivacy.models.densities import GaussianMixture
from pytest_diffprivacy.restoration.routines import (
    ancestral_step,
    check_mask,
    restoration_noise,
    restore_ddim,
    restore_ddnm,
    restore_repaint,
)
from tests.models.builders import GOLDEN, binary_images, memorizer, population_model, smooth_images

ROUTINES = [restore_ddim, restore_ddnm, restore_repaint]
SHAPE = (1, 4, 4)


def left_hidden(n, shape=SHAPE):
    mask = torch.ones(n, 1, *shape[1:])
    mask[..., : shape[2] // 2] = 0
    return mask


def memory(count=12):
    images = binary_images(count, 3, side=4)
    return memorizer(images), images


def restored(routine, model, images, *, mask=None, known=None, steps=10, draw=0, **more):
    return routine(
        model,
        model.encode(images) if known is None else known,
        left_hidden(len(images), model.sample_shape) if mask is None else mask,
        timesteps=model.schedule.sampling_timesteps(steps),
        noise=restoration_noise(images, model.sample_shape, draw=draw),
        **more,
    )


def states_seen_by(model):
    """Every (timestep, x_t) that the model is asked about from now on."""
    seen, predict = [], model.predict_eps

    def recording(x_t, timestep, conditioning=None):
        seen.append((timestep, x_t))
        return predict(x_t, timestep, conditioning)

    model.predict_eps = recording
    return seen


def correlated_pair(correlation=0.9):
    """Two pixels of variance 0.25: the law of the hidden one given the known one is a textbook formula."""
    covariance = 0.25 * torch.tensor([[[1.0, correlation], [correlation, 1.0]]])
    return AnalyticDenoiser(GaussianMixture(torch.zeros(1, 2), covariance), (1, 1, 2))


@pytest.mark.parametrize("routine", ROUTINES)
def test_what_is_known_is_kept_to_the_last_bit(routine):
    model, _ = memory()
    strangers = smooth_images(4, 9, side=4)
    x = restored(routine, model, strangers)
    assert torch.equal(x[..., 2:], model.encode(strangers)[..., 2:])


@pytest.mark.parametrize("routine", ROUTINES)
def test_perfect_memory_fills_in_a_training_image(routine):
    model, images = memory()
    x = restored(routine, model, torch.cat([images, binary_images(4, 8, side=4)]), steps=25)
    hidden, training = x[..., :2].flatten(1), model.encode(images)[..., :2].flatten(1)
    assert torch.cdist(hidden, training).min(1).values.max() < 1e-6


@pytest.mark.parametrize("routine", ROUTINES)
def test_hidden_pixels_of_the_input_never_enter(routine):
    model, images = memory()
    broken = model.encode(images)
    broken[..., :2] = float("nan")
    assert torch.equal(restored(routine, model, images, known=broken), restored(routine, model, images))


@pytest.mark.parametrize("routine", ROUTINES)
def test_a_projection_does_what_its_mask_does(routine):
    model, images = memory()
    mask = left_hidden(len(images)).double()
    assert torch.equal(restored(routine, model, images, mask=lambda x: mask * x), restored(routine, model, images))


def test_the_known_part_stands_at_the_noise_level_of_the_result():
    model, images = memory()
    seen, known = states_seen_by(model), model.encode(images)
    restored(restore_ddim, model, images)
    _, e = islice(restoration_noise(images, SHAPE), 2)
    for t, x in seen[1:]:
        alpha, sigma = model.schedule.at(t)
        torch.testing.assert_close(x[..., 2:], (alpha * known + sigma * e)[..., 2:], rtol=0, atol=1e-12)


def test_the_corrected_prediction_of_ddnm_moves_the_known_part_straight_to_what_is_known():
    model, images = memory()
    seen, known = states_seen_by(model), model.encode(images)
    restored(restore_ddnm, model, images)
    for (t, x), (s, y) in pairwise(seen):
        (a_t, s_t), (a_s, s_s) = model.schedule.at(t), model.schedule.at(s)
        expected = a_s * known + s_s * (x - a_t * known) / s_t
        torch.testing.assert_close(y[..., 2:], expected[..., 2:], rtol=0, atol=1e-10)


def test_repaint_draws_the_hidden_pixel_from_its_law_given_the_known_one():
    model, n, generator = correlated_pair(), 300, torch.Generator().manual_seed(6)
    known = torch.full((n, 1, 1, 2), 0.8, dtype=torch.float64)
    x = restore_repaint(
        model,
        known,
        left_hidden(n, (1, 1, 2)),
        timesteps=model.schedule.sampling_timesteps(100),
        noise=iter(lambda: torch.randn(n, 1, 1, 2, dtype=torch.float64, generator=generator), None),
        jump=5,
    )
    hidden = x[..., 0]
    assert hidden.mean().item() == pytest.approx(0.9 * 0.8, abs=0.05)
    assert hidden.std().item() == pytest.approx(0.5 * (1 - 0.9**2) ** 0.5, abs=0.03)


def test_repaint_walks_each_stretch_as_often_as_it_says():
    model, images = memory(2)
    seen = states_seen_by(model)
    restored(restore_repaint, model, images, steps=5, repeats=3, jump=2)
    assert [t for t, _ in seen] == [800, 600] * 3 + [400, 200] * 3 + [0] * 3


def test_a_jump_back_is_the_forward_process():
    model, images = memory(2)
    seen, known = states_seen_by(model), model.encode(images)
    start, step, e, z = (torch.full((2, *SHAPE), v, dtype=torch.float64) for v in (0.0, 0.3, 0.7, 1.0))
    noise = [start, step, e, step, e, z] + [step, e] * 3 + [z, step, e]
    times = [800, 500, 200]
    restore_repaint(model, known, left_hidden(2), timesteps=times, noise=noise, repeats=2, jump=2)
    (a_s, s_s), (a_t, s_t) = model.schedule.at(200), model.schedule.at(800)
    ratio = a_t / a_s
    expected = ratio * (a_s * known + s_s * e) + (s_t**2 - (ratio * s_s) ** 2) ** 0.5 * z
    torch.testing.assert_close(seen[2][1][..., 2:], expected[..., 2:])
    again_from_the_clean_end = model.schedule.at(200)[0] * known + model.schedule.at(200)[1] * z
    torch.testing.assert_close(seen[5][1][..., 2:], again_from_the_clean_end[..., 2:])


def test_an_ancestral_step_is_diffusers_own_and_ddim_without_noise():
    scheduler = DDIMScheduler.from_pretrained(GOLDEN / "scheduler", clip_sample=False)
    scheduler.set_timesteps(10)
    x, eps, z = torch.randn(3, 2, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    levels = [
        (float(scheduler.alphas_cumprod[t]) ** 0.5, float(1 - scheduler.alphas_cumprod[t]) ** 0.5) for t in (500, 400)
    ]
    theirs = scheduler.step(eps, 500, x, eta=1.0, variance_noise=z).prev_sample
    torch.testing.assert_close(ancestral_step(x, eps, z, *levels), theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(ancestral_step(x, eps, z, *levels, eta=0.0), ddim_step(x, eps, *levels))


def test_the_start_may_be_given_and_then_no_start_noise_is_taken():
    model, images = memory(3)
    start = torch.full((3, *SHAPE), 0.5, dtype=torch.float64)
    seen = states_seen_by(model)
    restore_ddnm(model, model.encode(images), left_hidden(3), timesteps=[300, 100], noise=[], start=start)
    assert seen[0][0] == 300
    assert torch.equal(seen[0][1], start)


def test_noise_belongs_to_the_image_and_not_to_its_place():
    images = smooth_images(3, 1)
    together = next(restoration_noise(images, SHAPE))
    alone = next(restoration_noise(images[2:], SHAPE))
    assert torch.equal(together[2:], alone)


def test_seed_draw_and_label_each_change_the_noise():
    image = smooth_images(1, 1)
    kinds = [{}, {"seed": 1}, {"draw": 1}, {"label": "left"}]
    drawn = [t for kind in kinds for t in islice(restoration_noise(image, SHAPE, **kind), 2)]
    assert len({tuple(t.flatten().tolist()) for t in drawn}) == 8


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 4, 4), r"`mask` must have shape \(n, 1 or channels, height, width\).*got \(2, 4, 4\)"),
        (torch.ones(2, 4, 4, 1), r"got \(2, 4, 4, 1\). Give one mask an image, channels first"),
        (torch.ones(1, 1, 4, 4), r"got \(1, 1, 4, 4\)"),
        (torch.ones(2, 1, 4, 1), r"got \(2, 1, 4, 1\)"),
        (255 * left_hidden(2), r"zeros and ones only, got values in \[0, 255\]"),
        (0.5 * left_hidden(2), r"zeros and ones only, got values in \[0, 0.5\]"),
        (torch.ones(2, 1, 4, 4), "hides nothing for image 0"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.bool), "shows nothing for image 0"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, message):
    model, images = memory(2)
    with pytest.raises(UsageError, match=message):
        restored(restore_ddim, model, images, mask=mask)


def test_the_message_counts_images_from_the_first_of_all():
    with pytest.raises(UsageError, match="hides nothing for image 11"):
        check_mask(torch.ones(1, 1, 4, 4), (1, 1, 4, 4), first=11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known": torch.zeros(2, 1, 2, 2)}, r"`known` must have shape \(n, \(1, 2, 3\)\), got \(2, 1, 2, 2\)"),
        ({"timesteps": [10, 20]}, r"`timesteps` must be decreasing and not empty, got \[10, 20\]"),
        ({"timesteps": []}, "decreasing and not empty"),
        ({"timesteps": [1000, 5]}, "between 0 and 999"),
        ({"noise": [torch.zeros(2, 1, 2, 3)]}, r"`noise` must give tensors of shape \(2, 1, 2, 3\), got an end"),
        ({"noise": [torch.zeros(1, 1, 2, 3)]}, r"got \(1, 1, 2, 3\)"),
        ({"start": torch.zeros(1, 1, 2, 3)}, r"`start` must have shape \(2, 1, 2, 3\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes, message):
    arguments = {"known": torch.zeros(2, 1, 2, 3), "timesteps": [10, 5], "noise": [torch.zeros(2, 1, 2, 3)] * 2}
    arguments |= changes
    with pytest.raises(UsageError, match=message):
        restore_ddim(population_model(), arguments.pop("known"), left_hidden(2, (1, 2, 3)), **arguments)


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"jump": 0}])
def test_repaint_needs_at_least_one_of_each(wrong):
    model, images = memory(2)
    with pytest.raises(UsageError, match="must be at least 1, got 0"):
        restored(restore_repaint, model, images, **wrong)
