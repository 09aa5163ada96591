"""Schedulers: the noise table is their own, attacks walk on it by fixed steps, generations leave them as they were."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.membership import secmi_scores
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.models.ddim import ddim_step
from pytest_diffprivacy.models.noise import sampler_seed, start_noise
from pytest_diffprivacy.models.prediction import x0_from_eps
from pytest_diffprivacy.models.scheduler import parametrization_of, schedule_of
from tests.models.builders import smooth_images
from tests.models.family_builders import stable_diffusion_3
from tests.models.text_builders import golden_pipeline, golden_text_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2

TEXTS = ["a dog on the moon", "cat"]
SEEDS = [5, 6]


def by_noising(scheduler, x0, noise, t):
    return scheduler.add_noise(x0, noise, torch.tensor([t]))


def by_tables(scheduler, x0, noise, t):
    return scheduler.alpha_t[t] * x0 + scheduler.sigma_t[t] * noise


def by_scaling(scheduler, x0, noise, t):
    """These keep x0 + s eps, and bring it to unit variance for the network."""
    time = scheduler.timesteps[999 - t]
    return scheduler.scale_model_input(scheduler.add_noise(x0, noise, time[None]), time)


def by_flow(scheduler, x0, noise, t):
    return scheduler.scale_noise(x0, scheduler.timesteps[999 - t][None], noise)


SCHEDULERS = {
    DDPMScheduler: by_noising,
    DDIMScheduler: by_noising,
    EulerDiscreteScheduler: by_scaling,
    EulerAncestralDiscreteScheduler: by_scaling,
    DPMSolverMultistepScheduler: by_tables,
    PNDMScheduler: by_noising,
    FlowMatchEulerDiscreteScheduler: by_flow,
}
VARIANCE_PRESERVING = [kind for kind in SCHEDULERS if kind is not FlowMatchEulerDiscreteScheduler]


def pipeline_with(kind):
    if kind is FlowMatchEulerDiscreteScheduler:
        return stable_diffusion_3()
    pipeline = golden_pipeline()
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    return pipeline


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.slow
def test_signal_and_noise_at_a_timestep_are_the_schedulers_own(kind):
    scheduler = pipeline_with(kind).scheduler
    schedule = schedule_of(scheduler)
    x0, noise = normal(2, 1, 4, 4, 4)
    for t in (20, 500, 900):
        alpha, sigma = schedule.at(t)
        own = SCHEDULERS[kind](kind.from_config(scheduler.config), x0, noise, t)
        torch.testing.assert_close(alpha * x0 + sigma * noise, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.slow
def test_generations_are_the_users_schedulers_and_leave_its_settings_and_the_attacks_as_they_were(kind):
    pipeline = pipeline_with(kind)
    pipeline.set_progress_bar_config(disable=True)
    scheduler, settings = pipeline.scheduler, dict(pipeline.scheduler.config)
    model = load_model(pipeline)
    ours = model.generate(SEEDS, prompts=TEXTS, steps=4, guidance_scale=3.0)
    assert pipeline.scheduler is scheduler
    assert dict(scheduler.config) == settings
    bare = pipeline(
        prompt=TEXTS,
        latents=start_noise(SEEDS, model.sample_shape).float(),
        generator=[torch.Generator().manual_seed(sampler_seed(seed)) for seed in SEEDS],
        num_inference_steps=4,
        guidance_scale=3.0,
        output_type="pt",
    ).images
    torch.testing.assert_close(ours, bare, rtol=0, atol=1e-5)
    after = schedule_of(scheduler)  # which now holds the steps of a sampling run
    np.testing.assert_array_equal(after.alphas, model.schedule.alphas)
    np.testing.assert_array_equal(after.sigmas, model.schedule.sigmas)


@pytest.mark.parametrize("kind", VARIANCE_PRESERVING)
@pytest.mark.slow
def test_an_attack_gives_the_same_scores_whatever_the_scheduler_on_one_noise_table(kind):
    images = smooth_images(3, 3, side=16, channels=3)
    model = load_model(pipeline_with(kind))
    expected = secmi_scores(golden_text_model("eps", torch.float32), images)
    np.testing.assert_allclose(secmi_scores(model, images), expected, rtol=1e-6)


NETWORKS = {
    "Euler, continuous v": EulerDiscreteScheduler(prediction_type="v_prediction", timestep_type="continuous"),
    "EDM": EDMEulerScheduler(),
    "EDM v": EDMEulerScheduler(prediction_type="v_prediction", sigma_data=1.0),
    "EDM, exponential": EDMEulerScheduler(sigma_schedule="exponential", sigma_max=20.0),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("index", [100, 600, 990])
def test_a_network_is_asked_and_understood_as_in_the_schedulers_own_step(name, index):
    own = type(NETWORKS[name]).from_config(NETWORKS[name].config)
    schedule, parametrization = schedule_of(own), parametrization_of(own)
    alpha, sigma = schedule.at(index)
    assert alpha**2 + sigma**2 == pytest.approx(1.0)
    x_t, output = normal(2, 1, 3, 4, 4).double()
    asked = []
    eps = parametrization.eps(lambda x, time: asked.append((x, time)) or output, x_t, index, schedule)
    time = own.timesteps[len(own.timesteps) - 1 - index]
    x = x_t / alpha  # the scheduler keeps x0 + s eps
    torch.testing.assert_close(asked[0][0], own.scale_model_input(x, time).double(), rtol=1e-6, atol=1e-7)
    assert asked[0][1] == pytest.approx(float(time), rel=1e-5)
    step = own.step(output, time, x)
    torch.testing.assert_close(
        x0_from_eps(eps, x_t, alpha, sigma), step.pred_original_sample.double(), rtol=1e-4, atol=1e-4
    )
    after = schedule.at(index - 1)
    torch.testing.assert_close(
        ddim_step(x_t, eps, (alpha, sigma), after), step.prev_sample.double() * after[0], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_step_of_ours_along_a_rectified_flow_is_the_schedulers_own(shift):
    own = FlowMatchEulerDiscreteScheduler(shift=shift)
    schedule, parametrization = schedule_of(own), parametrization_of(own)
    x_t, velocity = normal(2, 1, 3, 4, 4)
    asked = []
    eps = parametrization.eps(lambda x, time: asked.append(time) or velocity, x_t, 600, schedule)
    step = own.step(velocity, own.timesteps[399], x_t).prev_sample
    torch.testing.assert_close(ddim_step(x_t, eps, schedule.at(600), schedule.at(599)), step, rtol=1e-5, atol=1e-5)
    assert asked == [float(own.timesteps[399])]


def test_the_end_without_signal_is_no_timestep_of_a_flow():
    schedule = schedule_of(FlowMatchEulerDiscreteScheduler())
    assert len(schedule) == 999
    assert schedule.at(998) == pytest.approx((0.001, 0.999), rel=1e-4)
    np.testing.assert_allclose(schedule.alphas + schedule.sigmas, 1.0)


def test_a_flow_that_counts_noise_backwards_is_refused():
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler with `invert_sigmas` counts noise backwards"):
        schedule_of(FlowMatchEulerDiscreteScheduler(invert_sigmas=True))
