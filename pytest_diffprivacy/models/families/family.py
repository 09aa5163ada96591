"""Family: what sets one kind of text-to-image pipeline apart from another, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning

Tensors: TypeAlias = Mapping[str, Tensor]
Size: TypeAlias = tuple[int, int]

EMBEDDING = "encoder_hidden_states"
IMAGE_INPUTS = {"feature_extractor": None, "image_encoder": None}
"""Parts of a saved pipeline that only prompts by image need."""
DISTILLED = "Guidance was distilled into the network, which has no trained unconditional branch"


def _nothing(pipeline: Any, size: Size) -> Tensors:
    return {}


def _as_it_is(latents: Tensor) -> Tensor:
    return latents


def _no_facts(pipeline: Any) -> Mapping[str, Any]:
    return {}


def _inversions(pipeline: Any) -> Any:
    """What puts the vectors of textual inversions in place of their token."""
    return getattr(pipeline, "maybe_convert_prompt", None)


def _encoded(pipeline: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How pipelines of one kind are evaluated.

    Attributes:
        name: what records call the family.
        network: the pipeline's part that denoises.
        latents: shape (channels, height, width) of one latent at the resolution that the pipeline generates by default.
        reader: the tokenizer that takes most of a prompt, and how many tokens of it.
        embed: (pipeline, texts) -> named tensors, a row a text, as the pipeline's own `encode_prompt` makes them.
        predict: (network, x_t, time, conditioning) -> what the network predicts, in the shape of x_t.
        arguments: the pipeline's arguments by name, each with the tensor of the conditioning that it takes; where
            guidance is not distilled, it takes the same tensors of what guidance leads away from as negative_...
        settings: further arguments of the pipeline, the same for every image.
        zeros: whether no prompt is zeros instead of the encoded empty prompt.
        fixed: further tensors of one row that are the same for every image of a size, e.g. time ids.
        pack: latents as the pipeline takes them.
        check: raises ModelError for a pipeline of this class that is none of the family.
        maps: whether the network has cross-attention between positions and the tokens of CLIP that can be read.
        substitute: why the network has no trained unconditional branch and the empty prompt stands in; empty: it has.
        left_out: parts of a saved pipeline that are no part of the model under audit, and what stands in their place.
        facts: what its images depend on besides its parts, by name.
        convert: what is done to a text before `reader` sees it, (text, tokenizer) -> text; None: nothing.
        skips: whether `embed` takes `clip_skip`, how many of CLIP's last layers to leave out, as the pipeline does.
        upcasts: whether an autoencoder that says `force_upcast` runs in float32.
    """

    name: str
    network: Literal["unet", "transformer"]
    latents: Callable[[Any], tuple[int, int, int]]
    reader: Callable[[Any], tuple[Any, int]]
    embed: Callable[..., Tensors]
    predict: Callable[[Any, Tensor, float, Conditioning], Tensor]
    arguments: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    zeros: Callable[[Any], bool] = _encoded
    fixed: Callable[[Any, Size], Tensors] = _nothing
    pack: Callable[[Tensor], Tensor] = _as_it_is
    check: Callable[[Any], object] = _encoded
    maps: bool = False
    substitute: str = ""
    left_out: Mapping[str, Any] = field(default_factory=dict)
    facts: Callable[[Any], Mapping[str, Any]] = _no_facts
    convert: Callable[[Any], Any] = _inversions
    skips: bool = False
    upcasts: bool = False

    def pipeline_arguments(self, conditioning: Conditioning, away: Conditioning | None, scale: float) -> dict[str, Any]:
        """The pipeline's arguments for prompts, under guidance of a scale away from something or nothing."""
        given: dict[str, Any] = {name: conditioning[tensor] for name, tensor in self.arguments.items()}
        if not self.substitute:
            leads = {f"negative_{name}": tensor for name, tensor in self.arguments.items()}
            given |= {name: None if away is None else away[tensor] for name, tensor in leads.items()}
        return given | {"guidance_scale": scale} | dict(self.settings)


def clip_reader(tokenizer: Any, text_encoder: Any) -> tuple[Any, int]:
    """A CLIP tokenizer and how many tokens its encoder takes."""
    return tokenizer, min(int(tokenizer.model_max_length), int(text_encoder.config.max_position_embeddings))


@torch.no_grad()
def encode_prompt(pipeline: Any, *arguments: Any, **settings: Any) -> tuple[Any, ...]:
    """The pipeline's own tensors of prompts, without diffusers' messages, which print the text that a prompt loses."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        tensors: tuple[Any, ...] = pipeline.encode_prompt(*arguments, **settings)
    finally:
        logging.set_verbosity(before)
    return tensors


def transformer_latents(pipeline: Any) -> tuple[int, int, int]:
    """The latent shape in a transformer's configuration."""
    config = pipeline.transformer.config
    return int(config.in_channels), int(config.sample_size), int(config.sample_size)
