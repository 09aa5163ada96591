"""How is a Stable Diffusion 3 pipeline asked? Three text encoders, a transformer that sees text and image at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.families.family import (
    EMBEDDING,
    Family,
    Tensors,
    clip_reader,
    each_row,
    pooled_arguments,
    quiet,
)

POOLED = "pooled_projections"
T5_TOKENS = 256
"""The pipeline's default `max_sequence_length`."""


def _latents(pipeline: Any) -> tuple[int, int, int]:
    config = pipeline.transformer.config
    return int(config.in_channels), int(config.sample_size), int(config.sample_size)


def _reader(pipeline: Any) -> tuple[Any, int]:
    if pipeline.text_encoder_3 is None:
        return clip_reader(pipeline.tokenizer, pipeline.text_encoder)
    return pipeline.tokenizer_3, T5_TOKENS


@torch.no_grad()
def _embed(pipeline: Any, texts: Sequence[str]) -> Tensors:
    with quiet():
        embedding, _, pooled, _ = pipeline.encode_prompt(
            list(texts), None, None, do_classifier_free_guidance=False, max_sequence_length=T5_TOKENS
        )
    return {EMBEDDING: embedding, POOLED: pooled}


def _predict(transformer: Any, x_t: Tensor, time: float, told: Conditioning) -> Tensor:
    output: Tensor = transformer(
        hidden_states=x_t,
        timestep=each_row(time, x_t),
        encoder_hidden_states=told[EMBEDDING],
        pooled_projections=told[POOLED],
        return_dict=False,
    )[0]
    return output


STABLE_DIFFUSION_3 = Family(
    name="Stable Diffusion 3",
    network="transformer",
    latents=_latents,
    reader=_reader,
    embed=_embed,
    predict=_predict,
    arguments=partial(pooled_arguments, POOLED),
    left_out={"feature_extractor": None, "image_encoder": None},
)
