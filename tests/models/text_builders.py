"""Tiny text-to-image models that several rooms test on: the golden pipeline, and relatives of other shapes."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule, load_model
from pytest_diffprivacy.models.analytic import AnalyticPrompts
from pytest_diffprivacy.models.densities import GaussianMixture

torch.set_num_threads(1)

TEXT_GOLDEN = Path(__file__).parents[1] / "golden" / "text_to_image"
PIPELINE = TEXT_GOLDEN / "pipeline"
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}


def golden_pipeline(**scheduler):
    """The pipeline object, with other scheduler settings if given."""
    pipeline = StableDiffusionPipeline.from_pretrained(PIPELINE, local_files_only=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, **scheduler)
    return pipeline


@lru_cache(maxsize=8)
def golden_text_model(kind="eps", dtype=torch.float64):
    """The golden pipeline as a model, in float64 with the roots of the noise table rounded as diffusers rounds them."""
    model = load_model(golden_pipeline(prediction_type=PREDICTIONS[kind]), dtype=dtype)
    if dtype == torch.float64:
        model.schedule = rounded_schedule()
    return model


def rounded_schedule():
    abar = DDIMScheduler.from_pretrained(PIPELINE / "scheduler").alphas_cumprod
    alphas, sigmas = (root.double().numpy() for root in (abar**0.5, (1 - abar) ** 0.5))
    return NoiseSchedule(alphas, sigmas, "leading", 1, (float(alphas[0]), float(sigmas[0])))


@lru_cache(maxsize=1)
def text_inputs():
    return load_file(TEXT_GOLDEN / "inputs.safetensors") | json.loads((TEXT_GOLDEN / "inputs.json").read_text("utf-8"))


@lru_cache(maxsize=2)
def text_values(dtype=torch.float64):
    suffix = "_float64" if dtype == torch.float64 else ""
    return load_file(TEXT_GOLDEN / f"expected{suffix}.safetensors")


def analytic_values():
    return json.loads((TEXT_GOLDEN / "analytic.json").read_text("utf-8"))


def other_unet(seed=0, **changes):
    """A network in the style of Stable Diffusion 2: another number of heads in every block, linear projections."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        settings = {
            "sample_size": 6,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "attention_head_dim": (1, 4),
            "cross_attention_dim": 32,
            "norm_num_groups": 4,
            "use_linear_projection": True,
            "upcast_attention": True,
        }
        return UNet2DConditionModel(**settings | changes).eval()


def prompted_mixtures(shape=(1, 2, 3), seed=11):
    """An analytic text-to-image model: "broad" is what it generates anyway, "needle" is one sharp peak."""
    rng = np.random.default_rng(seed)
    dimension = int(np.prod(shape))

    def denoiser(spread, components):
        means = torch.from_numpy(rng.normal(0.0, 0.7, (components, dimension)))
        roots = torch.from_numpy(rng.normal(0.0, spread, (components, dimension, dimension)))
        covariances = roots @ roots.transpose(1, 2) + spread**2 * 0.1 * torch.eye(dimension, dtype=torch.float64)
        return AnalyticDenoiser(GaussianMixture(means, covariances), shape)

    anything = denoiser(0.4, 3)
    return AnalyticPrompts(anything, {"broad": denoiser(0.4, 3), "needle": denoiser(0.002, 1), "anything": anything})


def analytic_model(case, length=1000):
    """The independent reference's two mixtures, on a schedule with its exact noise level at the case's timestep."""
    values = analytic_values()
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    table = np.cumprod(1.0 - betas)
    table[case["t"]] = case["abar"]
    schedule = NoiseSchedule.from_alphas_cumprod(table[:length])

    def denoiser(mixture):
        parts = (torch.tensor(mixture[key], dtype=torch.float64) for key in ("means", "covs", "weights"))
        return AnalyticDenoiser(GaussianMixture(*parts), (1, 1, 4), schedule=schedule)

    return AnalyticPrompts(denoiser(values["uncond"]), {"cond": denoiser(values["cond"])})
