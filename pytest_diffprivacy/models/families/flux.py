"""How is a Flux pipeline asked? Packed latents, two text encoders, and guidance that was distilled into the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.families.family import EMBEDDING, Family, Size, Tensors, each_row, quiet

POOLED = "pooled_projections"
GUIDANCE = "guidance"
T5_TOKENS = 512
"""The pipeline's default `max_sequence_length`."""
TIME = 1000.0
"""The scheduler counts to 1000, the network to 1."""


def _latents(pipeline: Any) -> tuple[int, int, int]:
    side = int(pipeline.default_sample_size)
    return int(pipeline.transformer.config.in_channels) // 4, side, side


def _reader(pipeline: Any) -> tuple[Any, int]:
    return pipeline.tokenizer_2, T5_TOKENS


@torch.no_grad()
def _embed(pipeline: Any, texts: Sequence[str]) -> Tensors:
    with quiet():
        embedding, pooled, _ = pipeline.encode_prompt(list(texts), max_sequence_length=T5_TOKENS)
    return {EMBEDDING: embedding, POOLED: pooled}


def _guidance(pipeline: Any, size: Size) -> Tensors:
    return {GUIDANCE: torch.ones(1)} if pipeline.transformer.config.guidance_embeds else {}


def _predict(transformer: Any, x_t: Tensor, time: float, told: Conditioning) -> Tensor:
    names = {name for name, _ in told.items()}
    output = transformer(
        hidden_states=_pack(x_t),
        timestep=each_row(time / TIME, x_t).to(x_t.dtype),
        guidance=told[GUIDANCE] if GUIDANCE in names else None,
        pooled_projections=told[POOLED],
        encoder_hidden_states=told[EMBEDDING],
        txt_ids=torch.zeros(told[EMBEDDING].shape[1], 3, device=x_t.device, dtype=x_t.dtype),
        img_ids=_places(x_t),
        return_dict=False,
    )[0]
    return _unpack(output, x_t)


def _pack(latents: Tensor) -> Tensor:
    """(n, channels, height, width) -> (n, patches of 2 x 2, 4 channels), as Flux reads them."""
    rows, channels, height, width = latents.shape
    patches = latents.reshape(rows, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(rows, height // 2 * (width // 2), 4 * channels)


def _unpack(patches: Tensor, like: Tensor) -> Tensor:
    rows, channels, height, width = like.shape
    grid = patches.reshape(rows, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(like.shape)


def _places(x_t: Tensor) -> Tensor:
    """Row and column of every patch, (patches, 3)."""
    height, width = x_t.shape[-2] // 2, x_t.shape[-1] // 2
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
    return places.to(device=x_t.device, dtype=x_t.dtype)


def _arguments(told: Conditioning, away: Conditioning | None, scale: float) -> dict[str, Any]:
    return {
        "prompt_embeds": told[EMBEDDING],
        "pooled_prompt_embeds": told[POOLED],
        "guidance_scale": scale,
    }


FLUX = Family(
    name="Flux",
    network="transformer",
    latents=_latents,
    reader=_reader,
    embed=_embed,
    fixed=_guidance,
    predict=_predict,
    arguments=_arguments,
    pack=_pack,
    substitute="Guidance was distilled into the network, which has no trained unconditional branch",
    left_out={"feature_extractor": None, "image_encoder": None},
)
