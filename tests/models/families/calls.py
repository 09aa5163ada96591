"""How do diffusers' own pipelines and schedulers speak to each network? The other side of every comparison."""

from unittest.mock import patch

import numpy as np
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    LCMScheduler,
)

TEXTS = ["a dog on the moon", "cat"]


def texts(count):
    return [TEXTS[i % len(TEXTS)] for i in range(count)]


def denoised_by_ddim(pipeline, output, x_t, timestep, schedule):
    """The clean latents that diffusers' own DDIM step computes from the network's output."""
    own = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, timestep_spacing="leading")
    own.set_timesteps(1000)
    return own.step(output, timestep, x_t).pred_original_sample


def by_position(network, args, kwargs, x_t, timestep, schedule):
    """A UNet's call again at another place and time."""
    return network(x_t, timestep, *args[2:], **kwargs)[0]


def by_flow(pipeline, output, x_t, timestep, schedule):
    """Where diffusers' own Euler step lands that goes all the way to the clean end."""
    own = FlowMatchEulerDiscreteScheduler()
    sigma = float(schedule.sigmas[timestep])
    own.set_timesteps(sigmas=[sigma])
    return own.step(output, own.timesteps[0], x_t).prev_sample


def by_name(network, args, kwargs, x_t, timestep, schedule):
    """A Stable Diffusion 3 transformer's call again; it takes sigma, counted to 1000."""
    time = torch.full((len(x_t),), 1000.0 * float(schedule.sigmas[timestep]))
    return network(**kwargs | {"hidden_states": x_t, "timestep": time})[0]


def packed(network, args, kwargs, x_t, timestep, schedule):
    """A Flux transformer's call again, with diffusers' own packing; it takes sigma."""
    rows, channels, side, _ = x_t.shape
    time = torch.full((rows,), float(schedule.sigmas[timestep]))
    latents = FluxPipeline._pack_latents(x_t, rows, channels, side, side)
    output = network(**kwargs | {"hidden_states": latents, "timestep": time})[0]
    return FluxPipeline._unpack_latents(output, side, side, 1)


def with_variance(network, args, kwargs, x_t, timestep, schedule):
    """A PixArt or DiT transformer's call again; the second half of its channels is a variance."""
    time = torch.full((len(x_t),), timestep)
    return network(
        x_t,
        *args[1:],
        **kwargs | {"timestep": time},
    )[0].chunk(2, dim=1)[0]


def by_consistency(pipeline, output, x_t, timestep, schedule):
    """What diffusers' LCM step takes for the clean latents, without the share of x_t in its boundary condition."""
    own = LCMScheduler.from_config(pipeline.scheduler.config)
    own.set_timesteps(50)
    own.timesteps[0] = timestep
    c_skip, c_out = own.get_scalings_for_boundary_condition_discrete(timestep)
    return (own.step(output, own.timesteps[0], x_t).denoised - c_skip * x_t) / c_out


def texts_and_latents(pipeline, x_T, noise, steps, scale, **settings):
    return pipeline(
        prompt=texts(len(x_T)),
        latents=x_T,
        generator=noise,
        num_inference_steps=steps,
        guidance_scale=scale,
        output_type="pt",
        **settings,
    ).images


def flux_images(pipeline, x_T, noise, steps, scale):
    rows, channels, side, _ = x_T.shape
    latents = pipeline._pack_latents(x_T, rows, channels, side, side)
    size = {"height": 2 * side, "width": 2 * side}
    return texts_and_latents(pipeline, latents, noise, steps, scale, **size)


def pixart_images(pipeline, x_T, noise, steps, scale):
    settings = {"clean_caption": False, "use_resolution_binning": False}
    return texts_and_latents(pipeline, x_T, noise, steps, scale, **settings)


def labels(count):
    return [i % 4 for i in range(count)]


def nothing(count):
    return None


def ddim_images(pipeline, x_T, noise, steps, scale):
    """The pipeline takes no start noise: the one that it draws is replaced."""
    with patch("diffusers.pipelines.ddim.pipeline_ddim.randn_tensor", lambda *_, **__: x_T):
        images = pipeline(batch_size=len(x_T), num_inference_steps=steps, output_type="np").images
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def dit_images(pipeline, x_T, noise, steps, scale):
    with patch("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda *_, **__: x_T):
        images = pipeline(
            class_labels=labels(len(x_T)), num_inference_steps=steps, guidance_scale=scale, output_type="np"
        ).images
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def scheduler_images(pipeline, x_T, noise, steps, scale):
    """No pipeline of diffusers asks a UNet2DModel by these schedulers: the loop of their documentation."""
    own = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    own.set_timesteps(steps)
    x = x_T * own.init_noise_sigma
    with torch.no_grad():
        for time in own.timesteps:
            x = own.step(pipeline.unet(own.scale_model_input(x, time), time).sample, time, x).prev_sample
    return (x / 2 + 0.5).clamp(0, 1)


def preconditioned(network, args, kwargs, x_t, timestep, schedule):
    """An EDM network's call again, on the scheduler's own scale and in its own time."""
    x, level = edm_state(x_t, timestep, schedule)
    own = EDMEulerScheduler()
    return network(own.precondition_inputs(x, level), own.precondition_noise(level), *args[2:], **kwargs)[0]


def edm_state(x_t, timestep, schedule):
    """x = x0 + level * eps for x_t at unit variance."""
    alpha, sigma = schedule.at(timestep)
    return x_t / alpha, sigma / alpha


def by_edm(pipeline, output, x_t, timestep, schedule):
    x, level = edm_state(x_t, timestep, schedule)
    return EDMEulerScheduler().precondition_outputs(x, output, level)


def consistency_images(pipeline, x_T, noise, steps, scale):
    return pipeline(
        batch_size=len(x_T),
        class_labels=labels(len(x_T)),
        latents=x_T,
        generator=noise,
        num_inference_steps=steps,
        output_type="pt",
    ).images


def scaled(network, args, kwargs, x_t, timestep, schedule):
    """A consistency network's call again, on the scheduler's own scale and in its own time."""
    x, level = edm_state(x_t, timestep, schedule)
    time = CMStochasticIterativeScheduler().sigma_to_t(np.array(level))
    return network(x / (level**2 + 0.5**2) ** 0.5, torch.tensor(time), *args[2:], **kwargs)[0]


def by_one_step(pipeline, output, x_t, timestep, schedule):
    """Where diffusers' own step lands that adds no noise."""
    x, level = edm_state(x_t, timestep, schedule)
    own = CMStochasticIterativeScheduler(clip_denoised=False)
    own.set_timesteps(1)
    own.sigmas[0] = level
    own.is_scale_input_called = True
    return own.step(output, own.timesteps[0], x).prev_sample


def kandinsky_images(pipeline, x_T, noise, steps, scale):
    images = pipeline(
        prompt=TEXTS, generator=noise, num_inference_steps=steps, guidance_scale=scale, height=16, width=16,
        output_type="np",
    ).images  # fmt: skip
    return torch.from_numpy(images).permute(0, 3, 1, 2)
