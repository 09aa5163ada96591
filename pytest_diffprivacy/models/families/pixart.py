"""PixArt-alpha and PixArt-sigma: one T5 text encoder with a mask, and a transformer.

Its cross-attention is not offered: the methods that read it refer to the start token, which T5 does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.denoising_network import each_row
from pytest_diffprivacy.models.families.family import (
    EMBEDDING,
    Family,
    Size,
    Tensors,
    encode_prompt,
    transformer_latents,
)

MASK = "encoder_attention_mask"
RESOLUTION, RATIO = "resolution", "aspect_ratio"
LARGE = 128
"""Side of the latents from which on the network takes the size of the image."""


def _reader(pipeline: Any, *, tokens: int) -> tuple[Any, int]:
    return pipeline.tokenizer, tokens


def _embed(pipeline: Any, texts: Sequence[str], *, tokens: int) -> Tensors:
    embedding, mask, _, _ = encode_prompt(
        pipeline, list(texts), do_classifier_free_guidance=False, max_sequence_length=tokens
    )
    return {EMBEDDING: embedding, MASK: mask}


def _sizes(pipeline: Any, size: Size) -> Tensors:
    if int(pipeline.transformer.config.sample_size) != LARGE or not pipeline.transformer.use_additional_conditions:
        return {}
    return {RESOLUTION: torch.tensor([size]), RATIO: torch.tensor([[size[0] / size[1]]])}


def _predict(transformer: Any, x_t: Tensor, time: float, conditioning: Conditioning) -> Tensor:
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


def _family(name: str, tokens: int) -> Family:
    """The family for a pipeline whose default `max_sequence_length` is `tokens`."""
    return Family(
        name=name,
        network="transformer",
        latents=transformer_latents,
        reader=partial(_reader, tokens=tokens),
        embed=partial(_embed, tokens=tokens),
        fixed=_sizes,
        predict=_predict,
        arguments={"prompt_embeds": EMBEDDING, "prompt_attention_mask": MASK},
        settings={"negative_prompt": None, "use_resolution_binning": False},
    )


PIXART_ALPHA = _family("PixArt-alpha", 120)
PIXART_SIGMA = _family("PixArt-sigma", 300)
