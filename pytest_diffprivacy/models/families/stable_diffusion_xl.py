"""How is a Stable Diffusion XL pipeline asked? Two text encoders, a pooled embedding, the image's size in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.families.family import (
    EMBEDDING,
    Family,
    Size,
    Tensors,
    clip_reader,
    pooled_arguments,
    quiet,
)
from pytest_diffprivacy.models.families.stable_diffusion import unet_latents

POOLED = "text_embeds"
SIZES = "time_ids"
REFINER = (
    "It refines latents that another model made and does not generate from noise alone. Audit the base model; what the "
    "refiner adds is seen by the black-box claims on stored images (StoredGenerations)."
)


def _reader(pipeline: Any) -> tuple[Any, int]:
    return clip_reader(pipeline.tokenizer, pipeline.text_encoder)


@torch.no_grad()
def _embed(pipeline: Any, texts: Sequence[str]) -> Tensors:
    with quiet():
        embedding, _, pooled, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False)
    return {EMBEDDING: embedding, POOLED: pooled}


def _zeros(pipeline: Any) -> bool:
    return bool(pipeline.config.force_zeros_for_empty_prompt)


def _sizes(pipeline: Any, size: Size) -> Tensors:
    """Original size, crop and target size of an image that was neither scaled nor cropped, as the pipeline says it."""
    return {SIZES: torch.tensor([[*size, 0, 0, *size]])}


def _predict(unet: Any, x_t: Tensor, time: float, told: Conditioning) -> Tensor:
    output: Tensor = unet(
        x_t,
        time,
        encoder_hidden_states=told[EMBEDDING],
        added_cond_kwargs={POOLED: told[POOLED], SIZES: told[SIZES].to(x_t.dtype)},
        return_dict=False,
    )[0]
    return output


def _check(pipeline: Any) -> None:
    if pipeline.text_encoder is None or pipeline.text_encoder_2 is None:
        raise ModelError(f"The pipeline has one text encoder, as the Stable Diffusion XL refiner has. {REFINER}")
    config = pipeline.unet.config
    width = config.get("addition_time_embed_dim") or 0
    expected = config.get("projection_class_embeddings_input_dim")
    given = 6 * width + int(pipeline.text_encoder_2.config.projection_dim)
    if config.get("addition_embed_type") != "text_time" or expected != given:
        raise ModelError(
            f"The UNet takes added embeddings of width {expected}, the base model's would be {given}: it is the "
            f"refiner's, or that of an editing model. {REFINER}"
        )
    if config.get("time_cond_proj_dim") is not None:
        raise ModelError(
            "The UNet is told the guidance scale (a latent consistency model on Stable Diffusion XL), which is not "
            "supported. Wrap it in an object with `identity` and `generate` (models.Generator)."
        )


STABLE_DIFFUSION_XL = Family(
    name="Stable Diffusion XL",
    network="unet",
    latents=unet_latents,
    reader=_reader,
    embed=_embed,
    predict=_predict,
    arguments=partial(pooled_arguments, POOLED),
    zeros=_zeros,
    fixed=_sizes,
    check=_check,
    maps=True,
    left_out={"feature_extractor": None, "image_encoder": None},
    settings=("force_zeros_for_empty_prompt",),
)
