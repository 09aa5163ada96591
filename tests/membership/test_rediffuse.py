"""ReDiffuse: variations with known answers, distances, and the grid of timesteps."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.rediffuse import mean_variation, rediffuse, rediffuse_grid, rediffuse_scores
from pytest_diffprivacy.models import NoiseSchedule, ReferenceTimestep
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.models.scheduler import schedule_of
from pytest_diffprivacy.statistics import auroc
from tests.membership.grey_box import evaluations
from tests.models.builders import binary_images, memorizer, population_model, smooth_images

MEMBERS, OTHERS = binary_images(20, 1), binary_images(20, 2)
SHAPE = (1, 8, 8)


def test_a_members_variations_are_the_member_with_the_little_noise_of_index_0():
    model, noise = memorizer(MEMBERS), probe_noise(MEMBERS, 4, SHAPE, seed=3)
    alpha, sigma = model.schedule.at(0)
    x0 = model.encode(MEMBERS)
    found = mean_variation(model, x0, noise, grid=[100, 50, 0])
    torch.testing.assert_close(found, alpha * x0 + sigma * noise.mean(0), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("distance", "measure"),
    [
        ("l2", lambda gap: gap.square().sum((1, 2, 3))),
        ("l1", lambda gap: gap.abs().sum((1, 2, 3))),
        (lambda x0, mean: (x0 - mean).abs().amax((1, 2, 3)), lambda gap: gap.abs().amax((1, 2, 3))),
    ],
    ids=["l2", "l1", "callable"],
)
def test_the_score_is_minus_the_distance_to_the_mean_variation(distance, measure):
    model, noise = memorizer(MEMBERS), probe_noise(OTHERS, 3, SHAPE, seed=3)
    x0 = model.encode(OTHERS)
    gap = x0 - mean_variation(model, x0, noise, grid=[200, 100, 0])
    np.testing.assert_allclose(
        rediffuse_scores(model, OTHERS, distance=distance, noise=noise), -measure(gap).numpy(), rtol=1e-12
    )


def test_noise_comes_from_the_images_own_stream():
    model = memorizer(MEMBERS)
    drawn = rediffuse_scores(model, OTHERS, draws=3, seed=9)
    np.testing.assert_array_equal(drawn, rediffuse_scores(model, OTHERS, noise=probe_noise(OTHERS, 3, SHAPE, seed=9)))
    assert not np.array_equal(drawn, rediffuse_scores(model, OTHERS, draws=3, seed=10))


def test_a_batch_scores_as_its_images_do_alone():
    model, images = population_model(), smooth_images(7, 3)[:, :, :2, :3]
    np.testing.assert_allclose(
        rediffuse_scores(model, images), rediffuse_scores(model, images, batch_size=1), rtol=1e-9
    )


@pytest.mark.parametrize("distance", ["l2", "l1"])
def test_an_ideal_denoiser_gives_its_members_away(distance):
    model = memorizer(MEMBERS)
    scores = [rediffuse_scores(model, side, distance=distance, draws=3) for side in (MEMBERS, OTHERS)]
    assert auroc(*scores).value > 0.99


def test_an_image_costs_the_evaluations_that_the_record_names():
    model = memorizer(MEMBERS)
    assert evaluations(model, rediffuse_scores, OTHERS) == rediffuse.evaluations(rediffuse.defaults) == 20
    chosen = {"timestep": 150, "step": 50, "draws": 2}
    assert evaluations(model, rediffuse_scores, OTHERS, **chosen) == rediffuse.evaluations(chosen) == 6


def test_the_grid_ends_at_the_clean_end_and_follows_the_papers_schedule_elsewhere():
    cosine = schedule_of(DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    assert rediffuse_grid(NoiseSchedule.linear(), 200, 100) == [200, 100, 0]
    assert rediffuse_grid(cosine, ReferenceTimestep(200), 100) == [393, 203, 1]
    assert rediffuse_grid(cosine, 200, 100) == [200, 100, 0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"step": 30}, "`timestep` must be a positive multiple of `step` = 30, got 200"),
        ({"timestep": 0}, "`timestep` must be a positive multiple of `step` = 100, got 0"),
        ({"step": 0}, "multiple of `step` = 0"),
        ({"timestep": 1000}, "between 0 and 999, got 1000"),
        ({"draws": 0}, "`draws` must be at least 1, got 0"),
        ({"distance": "ssim"}, "`distance` must be one of l1, l2 or a callable, got 'ssim'"),
        ({"distance": lambda x0, mean: x0 - mean}, r"`distance` must return shape \(20,\), got \(20, 1, 8, 8\)"),
        ({"noise": torch.zeros(2, 19, *SHAPE)}, "`noise` must have shape"),
    ],
)
def test_a_bad_argument_is_named(parameters, message):
    with pytest.raises(UsageError, match=message):
        rediffuse_scores(memorizer(MEMBERS), OTHERS, **parameters)
