"""Every family that is audited: how it is built, what its own pipeline gives, and what of the project it supports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMPipeline, EDMEulerScheduler

from pytest_diffprivacy.models.noise import sampler_seed, start_noise
from tests.models import family_builders as build
from tests.models.families.calls import (
    by_consistency,
    by_edm,
    by_flow,
    by_name,
    by_one_step,
    by_position,
    consistency_images,
    ddim_images,
    denoised_by_ddim,
    dit_images,
    flux_images,
    kandinsky_images,
    labels,
    nothing,
    packed,
    pixart_images,
    preconditioned,
    scaled,
    scheduler_images,
    texts,
    texts_and_latents,
    with_variance,
)

SEEDS = [5, 6]
ALL = ("Wen", "bright ending", "layer-wise entropy")
WITHOUT_MAPS = ("Wen",)
EVERY_MITIGATION = ("embedding optimization", "random numbers", "attention rescaling")
MITIGATION_WITHOUT_MAPS = ("embedding optimization", "random numbers")
ATTACKS = ("loss", "SecMI")
ONE_SEQUENCE = "image and text are one sequence: no cross-attention to read"
T5_ONLY = "T5 has no start token, to which methods on attention refer"
NO_TEXTS = "takes no texts"
TWO_NETWORKS = "black box: one network makes an embedding, another the image"


@dataclass(frozen=True)
class Case:
    """A family.

    Attributes:
        name: its row in docs/models.md.
        build: a tiny pipeline object.
        bare: the pipeline's own images for `SEEDS`: (pipeline, x_T, generators, steps, scale) -> images.
        again: (network, args, kwargs, x_t, timestep, schedule) -> output of a call by the pipeline, elsewhere.
        denoised: (pipeline, output, x_t, timestep, schedule) -> x0 by the scheduler's own arithmetic.
        prompts: so many prompts, None for an unconditional model.
        steps: of a generation.
        scale: guidance of a generation.
        order: (unconditional, conditional) in the order in which the pipeline asks them.
        match: how far a timestep of the papers may be from the nearest of the model's, in log SNR.
        rounding: how far an image may be from the same image made in another batch.
        arguments: of load_model.
        attacks: parameters of the loss and of SecMI, for schedules that are coarser than the papers'.
        membership: the attacks that run; so are the next two.
        why: why some do not, in the columns with fewer.
    """

    name: str
    build: Callable[[], Any]
    bare: Callable[..., torch.Tensor]
    again: Callable[..., torch.Tensor] = by_position
    denoised: Callable[..., torch.Tensor] = denoised_by_ddim
    prompts: Callable[[int], list[Any] | None] = texts
    steps: int = 3
    scale: float = 4.0
    order: Callable[[Any, Any], list[Any]] = lambda unconditional, conditioning: [unconditional, conditioning]
    match: float = 0.02
    rounding: float = 1e-5
    arguments: tuple[tuple[str, Any], ...] = ()
    attacks: tuple[dict[str, Any], dict[str, Any]] = ({"draws": 1}, {})
    membership: tuple[str, ...] = ATTACKS
    detectors: tuple[str, ...] = ALL
    mitigation: tuple[str, ...] = EVERY_MITIGATION
    why: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def row(self) -> list[str]:
        """Its row in docs/models.md: what ran, and the reason where something did not."""

        def cell(done: tuple[str, ...], most: tuple[str, ...]) -> str:
            reason = "" if done == most else self.why
            return f"{', '.join(done)} ({reason})" if done and reason else ", ".join(done) or reason

        columns = ((self.membership, ATTACKS), (self.detectors, ALL), (self.mitigation, EVERY_MITIGATION))
        return [self.name, "own images", *(cell(done, most) for done, most in columns)]

    def own_images(self, pipeline: Any, sample_shape: tuple[int, ...], scale: float | None = None) -> torch.Tensor:
        noise = [torch.Generator().manual_seed(sampler_seed(seed)) for seed in SEEDS]
        x_T = start_noise(SEEDS, sample_shape).float()
        return self.bare(pipeline, x_T, noise, self.steps, self.scale if scale is None else scale)


def edm():
    return DDPMPipeline(unet=build.pixels(), scheduler=EDMEulerScheduler())


TEXTLESS: dict[str, Any] = {"scale": 1.0, "detectors": (), "mitigation": (), "why": NO_TEXTS}
JOINT: dict[str, Any] = {
    "again": by_name, "denoised": by_flow, "detectors": WITHOUT_MAPS, "mitigation": MITIGATION_WITHOUT_MAPS,
    "why": ONE_SEQUENCE,
}  # fmt: skip
T5: dict[str, Any] = {"detectors": WITHOUT_MAPS, "mitigation": MITIGATION_WITHOUT_MAPS, "why": T5_ONLY}
COARSE = ({"draws": 1, "timesteps": [10, 20]}, {"timestep": 20, "step": 5})

CASES = [
    Case("DDPM, DDIM, any UNet2DModel", build.unconditional, ddim_images, prompts=nothing, **TEXTLESS),
    Case(
        "EDM-preconditioned UNet2DModel", edm, scheduler_images, preconditioned, by_edm, nothing, steps=6, **TEXTLESS
    ),
    Case(
        "Consistency model", build.consistency, consistency_images, scaled, by_one_step, labels, steps=2, match=0.7,
        attacks=COARSE, **TEXTLESS,
    ),
    Case(
        "DiT, class-conditional", build.dit, dit_images, with_variance, prompts=labels,
        order=lambda unconditional, conditioning: [conditioning, unconditional], **TEXTLESS | {"scale": 4.0},
    ),
    Case("Stable Diffusion 1.x, 2.x", build.stable_diffusion, texts_and_latents),
    Case("Stable Diffusion XL", build.stable_diffusion_xl, texts_and_latents),
    Case("Stable Diffusion 3", build.stable_diffusion_3, texts_and_latents, **JOINT),
    Case(
        "Flux", build.flux, flux_images, arguments=(("resolution", 2 * build.SIDE),), **JOINT | {"again": packed}
    ),
    Case("PixArt Alpha", build.pixart, pixart_images, with_variance, **T5),
    Case("PixArt Sigma", build.pixart_sigma, pixart_images, with_variance, **T5),
    Case("Latent consistency (LCM)", build.latent_consistency, texts_and_latents, denoised=by_consistency),
    Case(
        "Kandinsky 2.2", build.kandinsky, kandinsky_images, arguments=(("resolution", 16),), rounding=1e-3,
        membership=(), detectors=(), mitigation=(), why=TWO_NETWORKS,
    ),
]  # fmt: skip
