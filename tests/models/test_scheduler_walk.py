"""Generations of pixel models: the steps of the scheduler that the user chose, as diffusers' own pipelines go them."""

from unittest.mock import patch

import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
)

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership import loss_scores
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.models.noise import sampler_seed, start_noise
from tests.models.builders import smooth_images
from tests.models.families.calls import ddim_images, scheduler_images
from tests.models.family_builders import dit, pixels

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2

SEEDS = [5, 6]
STEPS = 6
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}


def generators():
    return [torch.Generator().manual_seed(sampler_seed(seed)) for seed in SEEDS]


def saved(pipeline, folder):
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return load_model(folder)


def start(model):
    return start_noise(SEEDS, model.sample_shape).float()


def assert_own(model, bare):
    ours = model.generate(SEEDS, steps=STEPS)
    torch.testing.assert_close(ours, bare, rtol=0, atol=1e-5)
    assert float(ours.std()) > 0.01
    torch.testing.assert_close(model.generate(SEEDS[1:], steps=STEPS), ours[1:], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {},  # clips the clean image at every step
        {"clip_sample": False},
        {"thresholding": True},
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "linspace"},
        {"prediction_type": "sample"},
        ZERO_SNR,
    ],
    ids=str,
)
def test_a_ddim_pipeline_gives_its_own_images_whatever_its_settings(settings, tmp_path):
    pipeline = DDIMPipeline(unet=pixels(), scheduler=DDIMScheduler(**settings))
    model = saved(pipeline, tmp_path)
    assert_own(model, ddim_images(pipeline, start(model), None, STEPS, 1.0))


@pytest.mark.parametrize("settings", [{}, {"clip_sample": False}, ZERO_SNR], ids=str)
def test_a_ddpm_pipeline_gives_its_own_images_with_noise_of_each_images_own(settings, tmp_path):
    pipeline = DDPMPipeline(unet=pixels(), scheduler=DDPMScheduler(**settings))
    model = saved(pipeline, tmp_path)
    with patch("diffusers.pipelines.ddpm.pipeline_ddpm.randn_tensor", lambda *_, **__: start(model)):
        bare = pipeline(batch_size=2, generator=generators(), num_inference_steps=STEPS, output_type="np").images
    assert_own(model, torch.from_numpy(bare).permute(0, 3, 1, 2))
    assert not torch.allclose(model.generate([5, 5], steps=STEPS), model.generate([5, 6], steps=STEPS))


@pytest.mark.parametrize(
    "scheduler",
    [
        EulerDiscreteScheduler(use_karras_sigmas=True),
        DPMSolverMultistepScheduler(),
        PNDMScheduler(),
        PNDMScheduler(skip_prk_steps=True),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_any_other_scheduler_walks_as_its_documentation_says(scheduler, tmp_path):
    pipeline = DDPMPipeline(unet=pixels(), scheduler=scheduler)
    model = saved(pipeline, tmp_path)
    assert_own(model, scheduler_images(pipeline, start(model), None, STEPS, 1.0))


def test_an_ancestral_scheduler_draws_from_each_images_seed():
    unet, scheduler = pixels(), EulerAncestralDiscreteScheduler()
    model = load_model(unet, scheduler=scheduler)
    own = EulerAncestralDiscreteScheduler()
    own.set_timesteps(STEPS)
    x, noise = start(model) * own.init_noise_sigma, generators()
    with torch.no_grad():
        for time in own.timesteps:
            x = own.step(unet(own.scale_model_input(x, time), time).sample, time, x, generator=noise).prev_sample
    assert_own(model, (x / 2 + 0.5).clamp(0, 1))
    assert scheduler.num_inference_steps is None  # the user's own was not touched


def test_a_rectified_flow_is_walked_in_pixels_and_in_a_dits_latents():
    unet = pixels()
    model = load_model(unet, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0))
    own = FlowMatchEulerDiscreteScheduler(shift=3.0)
    own.set_timesteps(STEPS)
    x = start(model)
    with torch.no_grad():
        for time in own.timesteps:
            x = own.step(unet(x, time).sample, time, x).prev_sample
    assert_own(model, (x / 2 + 0.5).clamp(0, 1))
    pipeline = dit()
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    assert load_model(pipeline).generate(SEEDS, prompts=[1, 2], steps=2).shape == (2, 3, 16, 16)


def test_a_network_that_learned_its_variance_is_audited_without_and_samples_with_it(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unet = UNet2DModel(
            sample_size=8, in_channels=3, out_channels=6, layers_per_block=1, block_out_channels=(8, 8),
            down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, norm_num_groups=4,
            add_attention=False,
        ).eval()  # fmt: skip
    pipeline = DDPMPipeline(unet=unet, scheduler=DDPMScheduler(variance_type="learned_range"))
    model = saved(pipeline, tmp_path)
    with patch("diffusers.pipelines.ddpm.pipeline_ddpm.randn_tensor", lambda *_, **__: start(model)):
        bare = pipeline(batch_size=2, generator=generators(), num_inference_steps=STEPS, output_type="np").images
    assert_own(model, torch.from_numpy(bare).permute(0, 3, 1, 2))
    x_t = start(model)
    with torch.no_grad():
        torch.testing.assert_close(model.predict_eps(x_t, 300), unet(x_t, 300).sample[:, :3])
    assert len(set(loss_scores(model, smooth_images(3, 3, channels=3), draws=1))) == 3


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_that_the_scheduler_does_not_go_are_refused(steps):
    with pytest.raises(UsageError, match=f"`steps` must be between 1 and 1000, got {steps}"):
        load_model(pixels(), scheduler=DDPMScheduler()).generate([1], steps=steps)
