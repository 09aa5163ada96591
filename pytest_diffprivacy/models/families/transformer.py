"""Stable Diffusion 3, Flux and PixArt: families whose network is a transformer and whose text encoder is T5.

The first two see text and image as one sequence. PixArt's cross-attention is not offered: the methods that read it
refer to the start token, which T5 does not have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.errors import CaptionsNotCleaned
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.denoising_network import each_row
from pytest_diffprivacy.models.families.family import (
    DISTILLED,
    EMBEDDING,
    IMAGE_INPUTS,
    Family,
    Size,
    Tensors,
    clip_reader,
    encode_prompt,
    transformer_latents,
)

POOLED = "pooled_projections"
ARGUMENTS = {"prompt_embeds": EMBEDDING, "pooled_prompt_embeds": POOLED}
GUIDANCE = "guidance"
SD3_TOKENS, FLUX_TOKENS = 256, 512
"""The pipelines' default `max_sequence_length`, of T5."""
MASK = "encoder_attention_mask"
RESOLUTION, RATIO = "resolution", "aspect_ratio"
LARGE = 128
"""Side of the latents from which on the network takes the size of the image."""
TIME = 1000.0
"""Flux's scheduler counts to 1000, its network to 1."""


def _sd3_reader(pipeline: Any) -> tuple[Any, int]:
    if pipeline.text_encoder_3 is None:
        return clip_reader(pipeline.tokenizer, pipeline.text_encoder)
    return pipeline.tokenizer_3, SD3_TOKENS


def _sd3_embed(pipeline: Any, texts: Sequence[str], **skip: int) -> Tensors:
    settings = {"do_classifier_free_guidance": False, "max_sequence_length": SD3_TOKENS}
    embedding, _, pooled, _ = encode_prompt(pipeline, list(texts), None, None, **settings, **skip)
    return {EMBEDDING: embedding, POOLED: pooled}


def _sd3_predict(transformer: Any, x_t: Tensor, time: float, conditioning: Conditioning) -> Tensor:
    output: Tensor = transformer(
        hidden_states=x_t,
        timestep=each_row(time, x_t),
        encoder_hidden_states=conditioning[EMBEDDING],
        pooled_projections=conditioning[POOLED],
        return_dict=False,
    )[0]
    return output


STABLE_DIFFUSION_3 = Family(
    name="Stable Diffusion 3",
    network="transformer",
    latents=transformer_latents,
    reader=_sd3_reader,
    embed=_sd3_embed,
    predict=_sd3_predict,
    arguments=ARGUMENTS,
    skips=True,
    left_out=IMAGE_INPUTS,
)


def _flux_latents(pipeline: Any) -> tuple[int, int, int]:
    side = int(pipeline.default_sample_size)
    return int(pipeline.transformer.config.in_channels) // 4, side, side


def _flux_reader(pipeline: Any) -> tuple[Any, int]:
    return pipeline.tokenizer_2, FLUX_TOKENS


def _flux_embed(pipeline: Any, texts: Sequence[str]) -> Tensors:
    embedding, pooled, _ = encode_prompt(pipeline, list(texts), max_sequence_length=FLUX_TOKENS)
    return {EMBEDDING: embedding, POOLED: pooled}


def _flux_guidance(pipeline: Any, size: Size) -> Tensors:
    return {GUIDANCE: torch.ones(1)} if pipeline.transformer.config.guidance_embeds else {}


def _flux_predict(transformer: Any, x_t: Tensor, time: float, conditioning: Conditioning) -> Tensor:
    output = transformer(
        hidden_states=_pack(x_t),
        timestep=each_row(time / TIME, x_t).to(x_t.dtype),
        guidance=dict(conditioning.items()).get(GUIDANCE),
        pooled_projections=conditioning[POOLED],
        encoder_hidden_states=conditioning[EMBEDDING],
        txt_ids=torch.zeros(conditioning[EMBEDDING].shape[1], 3, device=x_t.device, dtype=x_t.dtype),
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


FLUX = Family(
    name="Flux",
    network="transformer",
    latents=_flux_latents,
    reader=_flux_reader,
    embed=_flux_embed,
    fixed=_flux_guidance,
    predict=_flux_predict,
    arguments=ARGUMENTS,
    pack=_pack,
    substitute=DISTILLED,
    left_out=IMAGE_INPUTS,
)


def _pixart_reader(pipeline: Any, *, tokens: int) -> tuple[Any, int]:
    return pipeline.tokenizer, tokens


def _pixart_embed(pipeline: Any, texts: Sequence[str], *, tokens: int) -> Tensors:
    settings = {"do_classifier_free_guidance": False, "max_sequence_length": tokens}
    embedding, mask, _, _ = encode_prompt(pipeline, list(texts), **settings, clean_caption=_cleans())
    return {EMBEDDING: embedding, MASK: mask}


def _pixart_convert(pipeline: Any) -> Any:
    """The pipeline's own cleaning of a caption, as its training did it, where the libraries for it are installed."""
    if not _cleans():
        warnings.warn(
            "PixArt was trained on cleaned captions; cleaning needs beautifulsoup4 and ftfy. Without them it is asked "
            "with captions in lower case only, and known as another model. pip install beautifulsoup4 ftfy",
            CaptionsNotCleaned,
            stacklevel=6,
        )
    return partial(_cleaned, pipeline)


def _cleaned(pipeline: Any, text: str, tokenizer: Any) -> str:
    return str(pipeline._text_preprocessing(text, clean_caption=_cleans())[0])


def _pixart_facts(pipeline: Any) -> dict[str, Any]:
    return {"clean_caption": _cleans()}


def _cleans() -> bool:
    from diffusers.utils import is_bs4_available, is_ftfy_available

    return bool(is_bs4_available() and is_ftfy_available())


def _pixart_sizes(pipeline: Any, size: Size) -> Tensors:
    if int(pipeline.transformer.config.sample_size) != LARGE or not pipeline.transformer.use_additional_conditions:
        return {}
    return {RESOLUTION: torch.tensor([size]), RATIO: torch.tensor([[size[0] / size[1]]])}


def _pixart_predict(transformer: Any, x_t: Tensor, time: float, conditioning: Conditioning) -> Tensor:
    given = dict(conditioning.items())
    output: Tensor = transformer(
        x_t,
        encoder_hidden_states=conditioning[EMBEDDING],
        encoder_attention_mask=conditioning[MASK],
        timestep=each_row(time, x_t),
        added_cond_kwargs={name: given[name].to(x_t.dtype) if name in given else None for name in (RESOLUTION, RATIO)},
        return_dict=False,
    )[0]
    return output[:, : x_t.shape[1]]  # what follows is the variance that it has learned


def _pixart(name: str, tokens: int) -> Family:
    """The family for a pipeline whose default `max_sequence_length` is `tokens`."""
    return Family(
        name=name,
        network="transformer",
        latents=transformer_latents,
        reader=partial(_pixart_reader, tokens=tokens),
        embed=partial(_pixart_embed, tokens=tokens),
        fixed=_pixart_sizes,
        predict=_pixart_predict,
        arguments={"prompt_embeds": EMBEDDING, "prompt_attention_mask": MASK},
        settings={"negative_prompt": None, "use_resolution_binning": False},
        facts=_pixart_facts,
        convert=_pixart_convert,
    )


PIXART_ALPHA = _pixart("PixArt-alpha", 120)
PIXART_SIGMA = _pixart("PixArt-sigma", 300)
