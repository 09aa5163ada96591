"""DRC on the ideal denoiser: members come back, the mean of draws beats one draw, and a score stands alone."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership.drc import (
    calibrate_vote,
    control_scores,
    drc,
    drc_scores,
    drc_strip,
    drc_task_scores,
)
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.restoration import GivenMasks, RestorationPlan
from pytest_diffprivacy.statistics import auroc
from tests.models.builders import binary_images, memorizer, population_model, smooth_images, tiny_unet

SHAPE = (3, 4, 4)
SMALL = {"masks": ["left"], "restorations": 2, "steps": 8}


def gaussian_images(count, seed):
    """The data of T7: N(0, 0.25 I) in the model's space."""
    drawn = np.random.default_rng(seed).normal(0.5, 0.25, (count, *SHAPE)).clip(0.0, 1.0)
    return torch.from_numpy(drawn.astype(np.float32))


def counting(model):
    """How many images the model has been asked about."""
    calls, predict = [0], model.predict_eps

    def counted(x_t, timestep, conditioning=None):
        calls[0] += len(x_t)
        return predict(x_t, timestep, conditioning)

    model.predict_eps = counted
    return calls


@pytest.mark.parametrize("restoration", ["ddim", "ddnm"])
def test_t7_the_mean_of_draws_tells_members_where_a_single_draw_often_errs(restoration):
    members, others = gaussian_images(32, 1), gaussian_images(32, 2)
    model = memorizer(members)
    settings = {"masks": "left", "restoration": restoration, "steps": 25}

    def separated(draws, seed=0):
        scores = [drc_scores(model, x, restorations=draws, seed=seed, **settings) for x in (members, others)]
        return auroc(*scores).value

    single = np.mean([separated(1, seed) for seed in range(10)])
    mean = separated(10)
    assert mean > 0.9
    assert mean > single + 0.1


# Downsampling leaves 12 of 48 numbers, a mask or the blur half of them or more: little to recognise white noise by.
@pytest.mark.parametrize(
    ("masks", "floor"),
    [("left", 0.85), ("random:0.5", 0.85), ("saliency:0.3", 0.85), ("blur:1", 0.85), ("downsample:2", 0.7)],
)
@pytest.mark.parametrize("restoration", ["ddim", "ddnm"])
@pytest.mark.slow
def test_members_are_restored_better_than_others_and_the_control_sees_no_difference(masks, floor, restoration):
    members, others = gaussian_images(24, 1), gaussian_images(24, 2)
    model = memorizer(members)
    scores = [drc_scores(model, x, masks=masks, restoration=restoration, steps=15) for x in (members, others)]
    assert auroc(*scores).value > floor
    control = auroc(*(control_scores(x, masks, model=model) for x in (members, others)))
    assert control.low < 0.5 < control.high


def test_one_draw_of_repaint_tells_members_as_several_of_the_others_do():
    members, others = gaussian_images(24, 1), gaussian_images(24, 2)
    model = memorizer(members)
    settings = {"masks": "left", "restoration": "repaint", "steps": 12, "restorations": 1}
    assert auroc(*(drc_scores(model, x, **settings) for x in (members, others))).value > 0.85


def test_from_an_inverted_start_both_deterministic_routines_are_one():
    images = gaussian_images(6, 1)
    model = memorizer(images[:3])
    settings = {"masks": "left", "start": "inversion", "strength": 0.6, "steps": 20, "restorations": 1}
    ddim, ddnm = (drc_scores(model, images, restoration=r, **settings) for r in ("ddim", "ddnm"))
    np.testing.assert_allclose(ddim, ddnm, rtol=0, atol=1e-8)


def test_a_model_that_knows_no_image_separates_nothing():
    images = [smooth_images(40, seed, side=3)[:, :, :2] for seed in (1, 2)]
    found = auroc(*(drc_scores(population_model(), x, steps=10, restorations=4) for x in images))
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("masks", [["left", "random:0.3"], ["saliency", "blur:2", "downsample:2"]])
@pytest.mark.parametrize("comparison", ["rms_hidden", "ssim", lambda x: x.flatten(1)])
def test_a_score_is_the_same_alone_and_in_a_batch(masks, comparison):
    images = gaussian_images(5, 1)
    model = memorizer(images[:3])
    settings = SMALL | {"masks": masks, "comparison": comparison, "seed": 4}
    whole = drc_scores(model, images, **settings)
    np.testing.assert_allclose(drc_scores(model, images, batch_size=2, **settings), whole, rtol=0, atol=1e-5)
    np.testing.assert_allclose(drc_scores(model, images[3:4], **settings), whole[3:4], rtol=0, atol=1e-5)


def test_a_network_gives_the_same_score_alone_and_in_a_batch():
    model = load_model(tiny_unet(), scheduler=DDPMScheduler())
    images, settings = smooth_images(4, 1), SMALL | {"masks": ["left", "saliency", "downsample:2"]}
    whole = drc_scores(model, images, **settings)
    np.testing.assert_allclose(drc_scores(model, images[2:3], **settings), whole[2:3], rtol=0, atol=1e-5)


def test_the_seed_changes_scores_and_nothing_else_does():
    images = gaussian_images(4, 1)
    model = memorizer(images)
    first = drc_scores(model, images, **SMALL)
    assert np.array_equal(first, drc_scores(model, images, **SMALL))
    assert not np.array_equal(first, drc_scores(model, images, seed=1, **SMALL))


def test_a_tasks_score_does_not_depend_on_the_other_tasks():
    images = gaussian_images(4, 1)
    model = memorizer(images)
    settings = SMALL | {"masks": ["left", "top"]}
    tasks = drc_task_scores(model, images, **settings)
    assert tasks.shape == (4, 2)
    assert np.array_equal(tasks[:, 1:], drc_task_scores(model, images, **SMALL | {"masks": ["top"]}))
    np.testing.assert_allclose(drc_scores(model, images, **settings), tasks.mean(1))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"masks": ["left", "saliency", "blur:2"]},
        {"restoration": "repaint", "masks": "top"},
        {"start": "inversion", "strength": 0.5, "restorations": 1},
        {"start": "inversion", "restoration": "ddnm", "restorations": 1},
    ],
)
def test_an_image_costs_as_many_evaluations_as_are_announced(parameters):
    images = gaussian_images(3, 1)
    model = memorizer(images)
    calls = counting(model)
    chosen = {**drc.defaults, "restorations": 2, "steps": 6, **parameters}
    drc.scores(model, images, **chosen)
    assert calls[0] == 3 * drc.evaluations(chosen)


def test_the_defaults_cost_a_thousand_evaluations():
    assert drc.evaluations(drc.defaults) == 2 * 10 * 50


def test_the_strip_shows_what_was_scored():
    images = gaussian_images(3, 1)
    model = memorizer(images)
    strip = drc_strip(model, images[1], mask="left", plan=RestorationPlan(restorations=5, steps=10), seed=3)
    score = drc_scores(model, images[1:2], masks="left", restorations=5, steps=10, seed=3)[0]
    assert -strip.distances.mean() == pytest.approx(score, abs=1e-9)
    assert np.array_equal(strip.original, images[1].numpy().astype(np.float64))
    assert strip.hidden.tolist() == [[True, True, False, False]] * 4
    assert np.array_equal(strip.restored[:, ~strip.hidden], strip.original[:, ~strip.hidden])
    assert np.array_equal(strip.degraded[:, ~strip.hidden], strip.original[:, ~strip.hidden])
    for array in (strip.degraded, strip.restored, strip.restorations):
        assert array.shape[-3:] == SHAPE
        assert array.min() >= 0.0
        assert array.max() <= 1.0


def test_the_strip_shows_a_typical_restoration_and_not_the_best():
    images = gaussian_images(8, 1)
    strip = drc_strip(memorizer(images), gaussian_images(1, 2)[0], plan=RestorationPlan(restorations=5, steps=10))
    assert len(set(strip.distances)) > 2
    shown = np.sqrt(((strip.restored - strip.original) ** 2)[:, strip.hidden].mean())
    assert shown == pytest.approx(np.sort(strip.distances)[2])


def test_tasks_that_agree_call_members_members():
    members = gaussian_images(20, 1)
    model = memorizer(members)
    first, second = gaussian_images(60, 3), gaussian_images(60, 4)
    masks = {"masks": ["left", "right", "top"], "restorations": 4, "steps": 12, "restoration": "ddnm"}
    known, checked, found = (drc_task_scores(model, x, **masks) for x in (first, second, members))
    vote = calibrate_vote(known, checked, max_fpr=0.1, task_fpr=0.05)
    assert vote.fpr_upper <= 0.1
    assert vote.members(found).mean() > 0.9


def test_two_tasks_on_one_mask_have_noise_of_their_own():
    images, mask = gaussian_images(3, 1), torch.ones(3, 4, 4)
    mask[..., :2] = 0
    masks = [GivenMasks(mask, label="first"), GivenMasks(mask, label="second")]
    tasks = drc_task_scores(memorizer(images), gaussian_images(3, 2), **SMALL | {"masks": masks})
    assert not np.array_equal(tasks[:, 0], tasks[:, 1])


class LatentMemory:
    """An ideal denoiser of 2 x 2 latents, each the mean of a 2 x 2 block of its 4 x 4 image."""

    def __init__(self, images):
        self.inner = memorizer(torch.nn.functional.avg_pool2d(images, 2))
        self.identity, self.schedule = self.inner.identity, self.inner.schedule
        self.sample_shape, self.image_shape = (1, 2, 2), (1, 4, 4)
        self.device, self.dtype = self.inner.device, self.inner.dtype
        self.seen = []

    def predict_eps(self, x_t, timestep, conditioning=None):
        return self.inner.predict_eps(x_t, timestep)

    def condition(self, prompts, count):
        return None

    def encode(self, images):
        self.seen.append(images.clone())
        return self.inner.encode(torch.nn.functional.avg_pool2d(images, 2))

    def decode(self, x0):
        return self.inner.decode(x0).repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_latent_is_known_only_where_all_its_pixels_are_and_hidden_pixels_never_reach_the_encoder():
    images = binary_images(3, 1, side=4)
    model = LatentMemory(images)
    masks = torch.ones(3, 4, 4)
    masks[:, 0, 0] = masks[:, 3, 0] = 0
    changed = images.clone()
    changed[:, :, 0, 0] = 1 - changed[:, :, 0, 0]
    drc_scores(model, images, **SMALL | {"masks": [GivenMasks(masks)]})
    drc_scores(model, changed, **SMALL | {"masks": [GivenMasks(masks)]})
    torch.testing.assert_close(*model.seen)


def test_known_pixels_stay_what_they_are_although_they_were_decoded():
    image = smooth_images(1, 1, side=4)
    strip = drc_strip(
        LatentMemory(binary_images(3, 1, side=4)), image[0], plan=RestorationPlan(restorations=2, steps=5)
    )
    known = ~strip.hidden
    assert np.array_equal(strip.restored[:, known], strip.original[:, known])


def test_a_latent_mask_that_leaves_nothing_is_refused():
    images = binary_images(2, 1, side=4)
    masks = torch.ones(2, 4, 4)
    masks[:, ::2, ::2] = 0
    with pytest.raises(UsageError, match="shows nothing for image 0"):
        drc_scores(LatentMemory(images), images, **SMALL | {"masks": [GivenMasks(masks)]})


def test_prompts_reach_the_model_batch_by_batch():
    images = gaussian_images(5, 1)
    model, asked = memorizer(images), []
    model.condition = lambda prompts, count: asked.append(prompts)
    drc_scores(model, images, prompts=list("abcde"), batch_size=3, **SMALL)
    assert asked == [["a", "b", "c"], ["d", "e"]]


def test_a_model_that_returns_nan_is_an_audit_error():
    images = gaussian_images(2, 1)
    model = memorizer(images)
    model.predict_eps = lambda x, t, c=None: torch.full_like(x, float("nan"))
    with pytest.raises(AuditError, match=r"DRC \(left\): the model's output is not finite for 2 of 2 images"):
        drc_scores(model, images, **SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"restoration": "telea"}, "`restoration` must be one of ddim, ddnm, repaint, got 'telea'"),
        ({"start": "zero"}, "`start` must be 'noise' or 'inversion', got 'zero'"),
        ({"restorations": 0}, "`restorations` must be at least 1, got 0"),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"steps": 1001}, "`steps` must be between 1 and 1000, got 1001"),
        ({"strength": 0.0}, "`strength` must be above 0 and at most 1, got 0.0"),
        ({"strength": 0.5}, "`strength` must be 1 with start='noise', got 0.5"),
        ({"start": "inversion"}, "`restorations` must be 1 for ddim with start='inversion', got 2"),
        ({"comparison": "psnr"}, "`comparison` must be one of rms_hidden, ssim"),
        ({"masks": [GivenMasks(torch.ones(2, 5, 5))]}, r"got \(2, 1, 5, 5\)"),
        ({"prompts": ["a"]}, "`prompts` must hold one prompt for each of the 2 images, got 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    images = gaussian_images(2, 1)
    with pytest.raises(UsageError, match=message):
        drc_scores(memorizer(images), images, **SMALL | changes)
