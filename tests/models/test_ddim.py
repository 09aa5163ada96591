"""DDIM in both directions: equal to diffusers' own schedulers and to the golden values."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.ddim import ddim_invert, ddim_sample, ddim_step
from tests.models.builders import (
    GOLDEN,
    binary_images,
    golden_images,
    golden_inputs,
    golden_tolerances,
    golden_values,
    memorizer,
    population_model,
)


def check_close(ours, theirs, within=1e-4):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=within)


@torch.no_grad()
def sampled_by_diffusers(model, x, steps, spacing):
    scheduler = DDIMScheduler.from_pretrained(GOLDEN / "scheduler", clip_sample=False, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(model.predict_eps(x, int(t)), int(t), x).prev_sample
    return x


@torch.no_grad()
def inverted_by_diffusers(model, x, steps, last):
    scheduler = DDIMInverseScheduler.from_pretrained(GOLDEN / "scheduler", clip_sample=False)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        if int(t) > last:
            break
        x = scheduler.step(model.predict_eps(x, int(t)), int(t), x).prev_sample
    return x


def test_the_network_itself_gives_the_golden_output(reference_model):
    with torch.no_grad():
        output = reference_model.predict_eps(golden_inputs()["x"], 100)
    check_close(output, golden_values()["unet_check"], golden_tolerances()["unet_check"]["atol"])


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [10, 50])
def test_sampling_gives_the_golden_images(reference_model, steps, spacing):
    samples = ddim_sample(reference_model, golden_inputs()["x_T"], steps=steps, spacing=spacing)
    check_close(samples, golden_values()[f"ddim{steps}_{spacing}"])


@pytest.mark.parametrize(("spacing", "steps"), [("leading", 7), ("leading", 10), ("trailing", 10), ("trailing", 25)])
def test_sampling_equals_diffusers_own_scheduler(reference_model, spacing, steps):
    x_T = golden_inputs()["x_T"]
    samples = ddim_sample(reference_model, x_T, steps=steps, spacing=spacing)
    check_close(samples, sampled_by_diffusers(reference_model, x_T, steps, spacing))


@pytest.mark.parametrize("last", [50, 100])
def test_inversion_at_the_target_gives_the_golden_latents(reference_model, last):
    latents = ddim_invert(reference_model, golden_images(), timesteps=range(0, last + 1, 10), predict_at="target")
    check_close(latents, golden_values()[f"ddim_inverse_t{last}"])


@pytest.mark.parametrize(("steps", "last"), [(100, 100), (20, 200)])
def test_inversion_at_the_target_equals_diffusers_own_scheduler(reference_model, steps, last):
    times = range(0, last + 1, 1000 // steps)
    latents = ddim_invert(reference_model, golden_images(), timesteps=times, predict_at="target")
    check_close(latents, inverted_by_diffusers(reference_model, golden_inputs()["x"], steps, last))


@pytest.mark.parametrize("last", [50, 90])
def test_inversion_at_the_source_gives_the_golden_latents_of_secmi(reference_model, last):
    latents = ddim_invert(reference_model, golden_images(), timesteps=range(10, last + 1, 10))
    check_close(latents, golden_values()[f"secmi_latent_t{last}"])


def test_the_clean_end_stands_at_index_0_whether_it_is_named_or_not(reference_model):
    images = golden_images()[:2]
    named = ddim_invert(reference_model, images, timesteps=[0, 20])
    assert torch.equal(named, ddim_invert(reference_model, images, timesteps=[20]))
    assert torch.equal(ddim_invert(reference_model, images, timesteps=[0]), reference_model.encode(images))


def test_inversion_and_sampling_undo_each_other_where_memory_is_perfect():
    images = binary_images(5, 8)
    model = memorizer(images)
    x = ddim_invert(model, images, timesteps=range(0, 200, 10))
    source, target = model.schedule.at(190), model.schedule.at(0)
    back = ddim_step(x, model.predict_eps(x, 190), source, target)
    check_close(back, model.encode(images), 1e-8)


def test_a_step_to_where_one_is_changes_nothing():
    x, eps = torch.randn(2, 3, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    check_close(ddim_step(x, eps, (0.6, 0.8), (0.6, 0.8)), x, 1e-12)


def test_start_noise_of_another_shape_is_refused():
    with pytest.raises(UsageError, match=r"`x_T` must have shape \(n, \(1, 2, 3\)\), got \(4, 1, 3, 3\)"):
        ddim_sample(population_model(), torch.zeros(4, 1, 3, 3))


@pytest.mark.parametrize(
    ("timesteps", "message"),
    [
        ([], "increasing and not empty"),
        ([20, 10], r"increasing and not empty, got \[20, 10\]"),
        ([10, 10], "increasing"),
        ([10, 1000], "`timesteps` must be between 0 and 999, got 1000"),
        ([-10, 10], "`timesteps` must be between 0 and 999, got -10"),
    ],
)
def test_timesteps_that_are_no_path_upwards_are_refused(timesteps, message):
    with pytest.raises(UsageError, match=message):
        ddim_invert(population_model(), torch.zeros(1, 1, 2, 3), timesteps=timesteps)
