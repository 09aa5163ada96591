"""Stable Diffusion 1.x, 2.x and XL, and latent consistency: CLIP text encoders and a UNet with cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.families.family import (
    DISTILLED,
    EMBEDDING,
    IMAGE_INPUTS,
    Family,
    Size,
    Tensors,
    clip_reader,
    encode_prompt,
)
from pytest_diffprivacy.models.parts import unet_shape

GUIDANCE = "timestep_cond"
POOLED = "text_embeds"
SIZES = "time_ids"
REFINER = (
    "It refines latents that another model made and does not generate from noise alone. Audit the base model; what the "
    "refiner adds is seen by the black-box claims on stored images (StoredGenerations)."
)


def _latents(pipeline: Any) -> tuple[int, int, int]:
    """The latent shape of a UNet2DConditionModel, refused where it takes more than a latent."""
    config = pipeline.unet.config
    shape = unet_shape(config)
    if shape[0] != int(config["out_channels"]):
        raise ModelError(
            f"The UNet takes {shape[0]} channels and returns {config['out_channels']}: it is made for inpainting "
            "or editing, not for text to image alone. Audit the text-to-image model it comes from."
        )
    return shape


def _reader(pipeline: Any) -> tuple[Any, int]:
    return clip_reader(pipeline.tokenizer, pipeline.text_encoder)


@torch.no_grad()
def _embed(pipeline: Any, texts: Sequence[str], *, clip_skip: int = 0) -> Tensors:
    """The text encoder's last hidden state, or one some layers before with the last norm, padded to its length."""
    tokenizer, limit = _reader(pipeline)
    encoder = pipeline.text_encoder
    converted = [pipeline.maybe_convert_prompt(text, tokenizer) for text in texts]
    tokens = tokenizer(converted, padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
    device = next(encoder.parameters()).device
    masked = getattr(encoder.config, "use_attention_mask", False)
    mask = tokens["attention_mask"].to(device) if masked else None
    encoded = encoder(tokens["input_ids"].to(device), attention_mask=mask, output_hidden_states=bool(clip_skip))
    if not clip_skip:
        return {EMBEDDING: encoded[0]}
    return {
        EMBEDDING: getattr(encoder, "text_model", encoder).final_layer_norm(encoded.hidden_states[-(clip_skip + 1)])
    }


def _predict(unet: Any, x_t: Tensor, time: float, conditioning: Conditioning, **further: Any) -> Tensor:
    output: Tensor = unet(x_t, time, encoder_hidden_states=conditioning[EMBEDDING], return_dict=False, **further)[0]
    return output


STABLE_DIFFUSION = Family(
    name="Stable Diffusion",
    network="unet",
    latents=_latents,
    reader=_reader,
    embed=_embed,
    predict=_predict,
    arguments={"prompt_embeds": EMBEDDING},
    maps=True,
    skips=True,
    # The safety checker is no part of the model under audit.
    left_out=IMAGE_INPUTS | {"safety_checker": None, "requires_safety_checker": False},
)


def _takes_guidance(pipeline: Any) -> None:
    if pipeline.unet.config.get("time_cond_proj_dim") is None:
        raise ModelError(
            "The UNet of a latent consistency pipeline must take the guidance scale (`time_cond_proj_dim`), got None. "
            "With an LCM adapter, audit it as a StableDiffusionPipeline with an LCMScheduler."
        )


def _guidance(pipeline: Any, size: Size) -> Tensors:
    """The embedding of guidance scale 1; the pipeline embeds the scale minus one."""
    width = int(pipeline.unet.config.time_cond_proj_dim)
    embedding: Tensor = pipeline.get_guidance_scale_embedding(torch.zeros(1), embedding_dim=width)
    return {GUIDANCE: embedding}


def _predict_distilled(unet: Any, x_t: Tensor, time: float, conditioning: Conditioning) -> Tensor:
    return _predict(unet, x_t, time, conditioning, timestep_cond=conditioning[GUIDANCE].to(x_t.dtype))


LATENT_CONSISTENCY = replace(
    STABLE_DIFFUSION,
    name="latent consistency",
    check=_takes_guidance,
    fixed=_guidance,
    predict=_predict_distilled,
    substitute=DISTILLED,
)


def _embed_twice(pipeline: Any, texts: Sequence[str], **skip: int) -> Tensors:
    embedding, _, pooled, _ = encode_prompt(pipeline, list(texts), do_classifier_free_guidance=False, **skip)
    return {EMBEDDING: embedding, POOLED: pooled}


def _zeros(pipeline: Any) -> bool:
    return bool(pipeline.config.force_zeros_for_empty_prompt)


def _zeros_fact(pipeline: Any) -> dict[str, Any]:
    return {"force_zeros_for_empty_prompt": pipeline.config.force_zeros_for_empty_prompt}


def _sizes(pipeline: Any, size: Size) -> Tensors:
    """Original size, crop and target size of an image that was neither scaled nor cropped, as the pipeline says it."""
    return {SIZES: torch.tensor([[*size, 0, 0, *size]])}


def _predict_sized(unet: Any, x_t: Tensor, time: float, conditioning: Conditioning) -> Tensor:
    added = {POOLED: conditioning[POOLED], SIZES: conditioning[SIZES].to(x_t.dtype)}
    return _predict(unet, x_t, time, conditioning, added_cond_kwargs=added)


def _is_base_model(pipeline: Any) -> None:
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


STABLE_DIFFUSION_XL = replace(
    STABLE_DIFFUSION,
    name="Stable Diffusion XL",
    embed=_embed_twice,
    predict=_predict_sized,
    arguments={"prompt_embeds": EMBEDDING, "pooled_prompt_embeds": POOLED},
    zeros=_zeros,
    fixed=_sizes,
    check=_is_base_model,
    left_out=IMAGE_INPUTS,
    facts=_zeros_fact,
    upcasts=True,
)
