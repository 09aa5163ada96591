"""How is a Stable Diffusion pipeline 1.x or 2.x asked? One CLIP text encoder, a UNet with cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.families.family import EMBEDDING, Family, Tensors, clip_reader


def unet_latents(pipeline: Any) -> tuple[int, int, int]:
    """The latent shape of a UNet2DConditionModel, refused where it takes more than a latent."""
    config = pipeline.unet.config
    size, channels = config.get("sample_size"), int(config["in_channels"])
    if size is None:
        raise ModelError("The UNet's configuration has no `sample_size`. Set it to the training resolution.")
    if channels != int(config["out_channels"]):
        raise ModelError(
            f"The UNet takes {channels} channels and returns {config['out_channels']}: it is made for inpainting "
            "or editing, not for text to image alone. Audit the text-to-image model it comes from."
        )
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return channels, height, width


def reader(pipeline: Any) -> tuple[Any, int]:
    """The tokenizer and the length of the text encoder."""
    return clip_reader(pipeline.tokenizer, pipeline.text_encoder)


@torch.no_grad()
def embed(pipeline: Any, texts: Sequence[str]) -> Tensors:
    """The text encoder's last hidden state, padded to its length."""
    tokenizer, limit = reader(pipeline)
    encoder = pipeline.text_encoder
    converted = [pipeline.maybe_convert_prompt(text, tokenizer) for text in texts]
    tokens = tokenizer(converted, padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
    device = next(encoder.parameters()).device
    masked = getattr(encoder.config, "use_attention_mask", False)
    mask = tokens["attention_mask"].to(device) if masked else None
    return {EMBEDDING: encoder(tokens["input_ids"].to(device), attention_mask=mask)[0]}


def _predict(unet: Any, x_t: Tensor, time: float, told: Conditioning) -> Tensor:
    output: Tensor = unet(x_t, time, encoder_hidden_states=told[EMBEDDING], return_dict=False)[0]
    return output


def _arguments(told: Conditioning, away: Conditioning | None, scale: float) -> dict[str, Any]:
    return {
        "prompt_embeds": told[EMBEDDING],
        "negative_prompt_embeds": None if away is None else away[EMBEDDING],
        "guidance_scale": scale,
    }


STABLE_DIFFUSION = Family(
    name="Stable Diffusion",
    network="unet",
    latents=unet_latents,
    reader=reader,
    embed=embed,
    predict=_predict,
    arguments=_arguments,
    maps=True,
    # The safety checker is no part of the model under audit.
    left_out={
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
        "requires_safety_checker": False,
    },
)
