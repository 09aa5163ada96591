"""Every family that is audited: how it is built, what its own pipeline gives, and what of the project it supports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline, LCMScheduler

from pytest_diffprivacy.models.noise import sampler_seed, start_noise
from tests.models import family_builders as build

TEXTS = ["a dog on the moon", "cat"]
SEEDS = [5, 6]
YES = "yes"


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
    """A Stable Diffusion 3 transformer's call again; it is told sigma, counted to 1000."""
    time = torch.full((len(x_t),), 1000.0 * float(schedule.sigmas[timestep]))
    return network(**kwargs | {"hidden_states": x_t, "timestep": time})[0]


def packed(network, args, kwargs, x_t, timestep, schedule):
    """A Flux transformer's call again, with diffusers' own packing; it is told sigma."""
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


@dataclass(frozen=True)
class Case:
    """A family.

    Attributes:
        name: its row in the README.
        build: a tiny pipeline object.
        bare: the pipeline's own images for `SEEDS`: (pipeline, x_T, generators, steps, scale) -> images.
        again: (network, args, kwargs, x_t, timestep, schedule) -> output of a call by the pipeline, elsewhere.
        denoised: (pipeline, output, x_t, timestep, schedule) -> x0 by the scheduler's own arithmetic.
        prompts: so many prompts, None for an unconditional model.
        steps: of a generation.
        scale: guidance of a generation.
        order: (unconditional, conditional) in the order in which the pipeline asks them.
        match: how far a timestep of the papers may be from the nearest of the model's, in log SNR.
        arguments: of load_model.
        extraction: "yes", or why not; so are the next three.
    """

    name: str
    build: Callable[[], Any]
    bare: Callable[..., torch.Tensor]
    again: Callable[..., torch.Tensor] = by_position
    denoised: Callable[..., torch.Tensor] = denoised_by_ddim
    prompts: Callable[[int], list[Any] | None] = texts
    steps: int = 3
    scale: float = 4.0
    order: Callable[[Any, Any], list[Any]] = lambda unconditional, told: [unconditional, told]
    match: float = 0.02
    arguments: tuple[tuple[str, Any], ...] = ()
    extraction: str = YES
    membership: str = YES
    detectors: str = YES
    mitigation: str = YES

    def __str__(self) -> str:
        return self.name

    def own_images(self, pipeline: Any, sample_shape: tuple[int, ...], scale: float | None = None) -> torch.Tensor:
        noise = [torch.Generator().manual_seed(sampler_seed(seed)) for seed in SEEDS]
        x_T = start_noise(SEEDS, sample_shape).float()
        return self.bare(pipeline, x_T, noise, self.steps, self.scale if scale is None else scale)


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


CASES = [
    Case("Stable Diffusion 1.x, 2.x", build.stable_diffusion, texts_and_latents),
    Case("Stable Diffusion XL", build.stable_diffusion_xl, texts_and_latents),
    Case("Stable Diffusion 3", build.stable_diffusion_3, texts_and_latents, by_name, by_flow, match=0.05),
    Case(
        "Flux",
        build.flux,
        flux_images,
        packed,
        by_flow,
        arguments=(("resolution", 2 * build.SIDE),),
        match=0.02,
    ),
    Case("PixArt", build.pixart, pixart_images, with_variance),
    Case("Latent consistency (LCM)", build.latent_consistency, texts_and_latents, denoised=by_consistency),
]
