"""Tiny models with known answers that several rooms test on."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule, ideal_denoiser, load_model
from pytest_diffprivacy.models.densities import GaussianMixture

torch.set_num_threads(1)  # for networks this small a second thread costs more than it brings

GOLDEN = Path(__file__).parents[1] / "golden" / "unconditional"
SIDE = 8


def golden_model(dtype=torch.float32):
    unet = UNet2DModel.from_pretrained(GOLDEN / "unet", use_safetensors=True)
    model = load_model(unet, scheduler=DDPMScheduler.from_pretrained(GOLDEN / "scheduler"), dtype=dtype)
    if dtype == torch.float64:  # the scheduler's own table is rounded to float32
        model.schedule = NoiseSchedule.linear()
    return model


def golden_inputs():
    return load_file(GOLDEN / "inputs.safetensors")


def golden_images():
    return (golden_inputs()["x"] + 1.0) / 2.0


def golden_values(dtype=torch.float32):
    suffix = "_float64" if dtype == torch.float64 else ""
    return load_file(GOLDEN / f"expected{suffix}.safetensors")


def golden_tolerances():
    return json.loads((GOLDEN / "tolerances.json").read_text(encoding="utf-8"))


def tiny_unet(seed=0, *, attention=False, classes=None, side=SIDE):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=side,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(8, 8),
            down_block_types=("DownBlock2D", "AttnDownBlock2D" if attention else "DownBlock2D"),
            up_block_types=("AttnUpBlock2D" if attention else "UpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            attention_head_dim=4,
            add_attention=attention,
            num_class_embeds=classes,
        ).eval()


def save_pipeline(folder, *, ddim=False, **scheduler):
    kind = DDIMPipeline if ddim else DDPMPipeline
    pipeline = kind(unet=tiny_unet(), scheduler=DDPMScheduler(**scheduler))
    pipeline.save_pretrained(folder)
    return folder


def binary_images(count, seed, *, side=SIDE, channels=1):
    """Random black-and-white images: far apart, so that an ideal denoiser knows them without doubt."""
    bits = np.random.default_rng(seed).integers(0, 2, (count, channels, side, side))
    return torch.from_numpy(bits.astype(np.float32))


def smooth_images(count, seed, *, side=SIDE, channels=1):
    """Random grey images in [0, 1]."""
    return torch.from_numpy(np.random.default_rng(seed).random((count, channels, side, side), dtype=np.float32))


def memorizer(images, repetitions=None):
    return ideal_denoiser(images, repetitions)


def mixture(dimension=6, components=3, seed=5):
    """A Gaussian mixture whose components differ in place, width and direction."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0.0, 0.7, (components, dimension))
    roots = rng.normal(0.0, 0.3, (components, dimension, dimension))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.02 * np.eye(dimension)
    weights = rng.uniform(0.5, 2.0, components)
    return GaussianMixture(*(torch.from_numpy(a) for a in (means, covariances, weights)))


def population_model(shape=(1, 2, 3)):
    """The exact model of a mixture; it has no members."""
    return AnalyticDenoiser(mixture(shape[0] * shape[1] * shape[2]), shape, name="population")


def population_images(count, seed, shape=(1, 2, 3)):
    """Random images of the population model's shape."""
    return torch.from_numpy(np.random.default_rng(seed).random((count, *shape)))
