"""What sets one kind of text-to-image pipeline apart from another? Everything that an audit has to know, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning

Tensors: TypeAlias = Mapping[str, Tensor]
Size: TypeAlias = tuple[int, int]

EMBEDDING = "encoder_hidden_states"


def _nothing(pipeline: Any, size: Size) -> Tensors:
    return {}


def _as_it_is(latents: Tensor) -> Tensor:
    return latents


def _encoded(pipeline: Any) -> bool:
    return False


def _accepted(pipeline: Any) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How pipelines of one kind are asked.

    Attributes:
        name: what records call the family.
        network: the pipeline's part that denoises.
        latents: shape (channels, height, width) of one latent at the resolution that the pipeline generates by default.
        reader: the tokenizer that takes most of a prompt, and how many tokens of it.
        embed: texts to named tensors, a row a text, as the pipeline's own `encode_prompt` makes them.
        zeros: whether no prompt is told as zeros instead of as the encoded empty prompt.
        fixed: further tensors of one row that are the same for every image of a size, e.g. time ids.
        predict: (network, x_t, time, conditioning) -> what the network predicts, in the shape of x_t.
        arguments: (conditioning, what guidance leads away from or None, guidance scale) -> the pipeline's arguments.
        pack: latents as the pipeline takes them.
        check: raises ModelError for a pipeline of this class that is none of the family.
        maps: whether the network has cross-attention between positions and the tokens of CLIP that can be read.
        substitute: why the network has no trained unconditional branch and the empty prompt stands in; empty: it has.
        left_out: parts of a saved pipeline that are no part of the model under audit, and what stands in their place.
        settings: entries of the pipeline's own configuration that its images depend on.
    """

    name: str
    network: Literal["unet", "transformer"]
    latents: Callable[[Any], tuple[int, int, int]]
    reader: Callable[[Any], tuple[Any, int]]
    embed: Callable[[Any, Sequence[str]], Tensors]
    predict: Callable[[Any, Tensor, float, Conditioning], Tensor]
    arguments: Callable[[Conditioning, Conditioning | None, float], dict[str, Any]]
    zeros: Callable[[Any], bool] = _encoded
    fixed: Callable[[Any, Size], Tensors] = _nothing
    pack: Callable[[Tensor], Tensor] = _as_it_is
    check: Callable[[Any], None] = _accepted
    maps: bool = False
    substitute: str = ""
    left_out: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()


def clip_reader(tokenizer: Any, text_encoder: Any) -> tuple[Any, int]:
    """A CLIP tokenizer and how many tokens its encoder takes."""
    return tokenizer, min(int(tokenizer.model_max_length), int(text_encoder.config.max_position_embeddings))


def pooled_arguments(pooled: str, told: Conditioning, away: Conditioning | None, scale: float) -> dict[str, Any]:
    """A pipeline's arguments where an embedding of the whole prompt goes with those of its tokens.

    Args:
        pooled: that embedding's name in the conditioning.
        told: the prompts' conditioning.
        away: what guidance leads away from; None: nothing.
        scale: of guidance.
    """
    negative = {} if away is None else dict(away.items())
    return {
        "prompt_embeds": told[EMBEDDING],
        "pooled_prompt_embeds": told[pooled],
        "negative_prompt_embeds": negative.get(EMBEDDING),
        "negative_pooled_prompt_embeds": negative.get(pooled),
        "guidance_scale": scale,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without diffusers' messages, which would print the text that a prompt loses."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def each_row(time: float, x_t: Tensor) -> Tensor:
    """The time as a tensor with an entry a row, as transformers take it."""
    return torch.full((len(x_t),), time, device=x_t.device, dtype=torch.float32)
