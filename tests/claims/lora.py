"""A LoRA trained on a few pictures of the emoji models' kind, and pictures that no model saw to audit it with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig

from pytest_diffprivacy.models.families import FAMILIES
from pytest_diffprivacy.models.parts import assemble_pipeline, read_json

EXAMPLES = Path(__file__).parents[2] / "example_audits"
BASE = EXAMPLES / "emoji-release"
LINEAR = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "conv2"]
STEPS = 30


def unseen_pictures(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """`count` held-out pictures (n, 3, 64, 64) in [0, 1] of as many prompts, in an order of the seed."""
    with np.load(EXAMPLES / "emoji.npz", allow_pickle=False) as stored:
        images, prompts = stored["heldout_images"], stored["heldout_prompts"].tolist()
    first = [row for row, prompt in enumerate(prompts) if prompt not in prompts[:row]]
    chosen = np.random.default_rng(seed).permutation(first)[:count]
    pixels = images[chosen].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255.0)
    return pixels, [prompts[row] for row in chosen]


def emoji_pipeline() -> StableDiffusionPipeline:
    """The released emoji model, a pipeline of its own at every call."""
    left_out = FAMILIES["StableDiffusionPipeline"].left_out
    return assemble_pipeline(BASE, read_json(BASE / "model_index.json"), left_out=left_out)


def train_lora(
    images: np.ndarray,
    prompts: list[str],
    *,
    name: str,
    seed: int,
    steps: int = STEPS,
    rate: float = 1e-2,
    times: tuple[int, int] = (20, 300),
) -> StableDiffusionPipeline:
    """The released pipeline with a LoRA that saw each of these pictures `steps` times, at noise levels of a range.

    Args:
        images: (n, 3, 64, 64) in [0, 1].
        prompts: one a picture, or one for all.
        name: of the adapter.
        seed: of weights, times and noise.
        steps: updates, each on all pictures.
        rate: the largest learning rate.
        times: from, and below; the default is little noise, as the attack asks.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    pipeline = emoji_pipeline()
    pipeline.vae.requires_grad_(False)
    pipeline.unet.requires_grad_(False)
    pipeline.unet.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=LINEAR), name)
    with torch.no_grad():
        mode = pipeline.vae.encode(torch.from_numpy(images) * 2.0 - 1.0).latent_dist.mode()
        told = pipeline.encode_prompt(prompts, "cpu", 1, False)[0].expand(len(images), -1, -1)
    x0 = mode * pipeline.vae.config.scaling_factor
    weights = [p for p in pipeline.unet.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=rate)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        drawn = torch.randint(*times, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        x_t = pipeline.scheduler.add_noise(x0, noise, drawn)
        loss = torch.nn.functional.mse_loss(pipeline.unet(x_t, drawn, encoder_hidden_states=told).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return pipeline
