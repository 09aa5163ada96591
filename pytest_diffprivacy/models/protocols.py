"""Protocols of models: three levels of access, of which every attack names the one that it needs.

The calling contract, relied on everywhere:

- `x_t = alpha_t * x0 + sigma_t * eps`. Inside a model x0 lies in [-1, 1] or is a latent; outside, images lie in [0, 1].
- A timestep is an index 0..T-1 of `model.schedule`; index 0 is the clean end.
- `predict_eps` returns eps whatever the network predicts, and never clips.
- Tensors are batched (n, channels, height, width) on `model.device` in `model.dtype`; encode and decode move them.
- A prompt is a text, or for a class-conditional model the class index.
- `condition(None, n)` of a text-to-image model is the empty prompt, the unconditional branch of guidance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.attention import AttentionRecord, Edit
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.schedule import NoiseSchedule

Prompt: TypeAlias = str | int
Prompts: TypeAlias = Sequence[Prompt] | None
"""One an image, or none."""


@runtime_checkable
class Generator(Protocol):
    """Black box: images from prompts or from nothing, by seed."""

    @property
    def identity(self) -> ModelIdentity:
        """Name and digest of the model."""

    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
    ) -> Tensor:
        """Images (n, channels, height, width) in [0, 1], image i depending on seeds[i] and prompts[i] alone."""


@runtime_checkable
class Denoiser(Protocol):
    """Grey box: the noise prediction at any point and time."""

    @property
    def identity(self) -> ModelIdentity:
        """Name and digest of the model."""

    @property
    def schedule(self) -> NoiseSchedule:
        """Alpha and sigma of every timestep."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape (channels, height, width) of one x_t."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of one image."""

    @property
    def device(self) -> torch.device:
        """Where x_t lives."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of x_t."""

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The noise in x_t as the model sees it; same shape as x_t."""

    def condition(self, prompts: Prompts, count: int) -> Conditioning | None:
        """What `predict_eps` takes as conditioning for these prompts (None: the unconditional branch)."""

    def encode(self, images: Tensor) -> Tensor:
        """x0 of images in [0, 1]."""

    def decode(self, x0: Tensor) -> Tensor:
        """Images in [0, 1] of x0; values outside are clamped."""


@runtime_checkable
class WhiteBoxDenoiser(Denoiser, Protocol):
    """White box: derivatives and parameters as well; `predict_eps` is differentiable in x_t and the parameters."""

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and its directional derivative J_eps @ tangent with respect to x_t, by forward-mode differentiation."""

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every trainable tensor with its name; empty for analytic models."""


@runtime_checkable
class PromptedDenoiser(Denoiser, Protocol):
    """Grey box of a text-to-image model: a Denoiser whose prompts are texts, with the empty prompt as no prompt."""

    @property
    def token_limit(self) -> int:
        """Tokens that the text encoder takes, start and end token included."""

    def token_counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt with its start and end token; what is above `token_limit` does not reach the model."""


@runtime_checkable
class LatentDenoiser(Denoiser, Protocol):
    """Grey box of a latent model whose decoder, which often is public, can be differentiated."""

    def decoder_products(self, x0: Tensor, cotangents: Tensor) -> Tensor:
        """J^T v (k, b, *sample_shape), J = d image / d x0 with the image in [-1, 1], not clamped; v (k, b, *image)."""

    def autoencoder_digest(self) -> str:
        """What tells this autoencoder from others."""


@runtime_checkable
class CrossAttention(Protocol):
    """A network whose cross-attention between positions and prompt tokens can be read and edited."""

    def cross_attention(
        self, *, maps: int = 0, edit: Edit | None = None, skip: int = 0
    ) -> AbstractContextManager[AttentionRecord]:
        """A block in which the latest evaluation's attention is recorded, and edited if an edit is given.

        The first `skip` rows are left alone.
        """


@runtime_checkable
class Vocabulary(Protocol):
    """A model that shows the texts of which it composes a prompt."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The text of every token that is no special one."""


def require_generator(model: object, purpose: str) -> Generator:
    """The model as a Generator, or a ModelError that says what is missing."""
    if isinstance(model, Generator):
        return model
    raise _lacking(model, purpose, "black-box", Generator, "identity generate")


def require_denoiser(model: object, purpose: str) -> Denoiser:
    """The model as a Denoiser, or a ModelError that says what is missing."""
    if isinstance(model, Denoiser):
        return model
    names = "identity schedule sample_shape image_shape predict_eps condition encode decode"
    raise _lacking(model, purpose, "grey-box", Denoiser, names)


def require_white_box(model: object, purpose: str) -> WhiteBoxDenoiser:
    """The model as a WhiteBoxDenoiser, or a ModelError that says what is missing."""
    if isinstance(model, WhiteBoxDenoiser):
        return model
    raise _lacking(model, purpose, "white-box", WhiteBoxDenoiser, "predict_eps eps_jvp named_parameters")


def require_latent(model: object, purpose: str) -> LatentDenoiser:
    """The model as a LatentDenoiser, or a ModelError that says what is missing."""
    if isinstance(model, LatentDenoiser):
        return model
    if isinstance(model, Denoiser):
        raise ModelError(
            f"{purpose} needs a latent model with a differentiable decoder, but {model.identity.name} "
            f"({model.identity.family}) has none. Leave it out for pixel models, or implement models.LatentDenoiser."
        )
    raise _lacking(model, purpose, "grey-box", LatentDenoiser, "decoder_products autoencoder_digest")


def require_prompted(model: object, purpose: str) -> PromptedDenoiser:
    """The model as a PromptedDenoiser, or a ModelError that says what is missing."""
    if isinstance(model, PromptedDenoiser):
        return model
    if isinstance(model, Denoiser):
        raise ModelError(
            f"{purpose} needs a text-to-image model, but {model.identity.name} ({model.identity.family}) takes no "
            "texts. Pass a StableDiffusionPipeline, or a Denoiser with `token_limit` and `token_counts` "
            "(models.PromptedDenoiser)."
        )
    raise _lacking(model, purpose, "grey-box", PromptedDenoiser, "predict_eps condition token_limit token_counts")


def require_cross_attention(model: object, purpose: str) -> CrossAttention:
    """The model as a CrossAttention, or a ModelError that says what is missing."""
    if isinstance(model, CrossAttention):
        return model
    raise _lacking(model, purpose, "cross-attention", CrossAttention, "cross_attention")


def require_vocabulary(model: object, purpose: str) -> Vocabulary:
    """The model as a Vocabulary, or a ModelError that says what is missing."""
    if isinstance(model, Vocabulary):
        return model
    raise _lacking(model, purpose, "vocabulary", Vocabulary, "vocabulary")


def _lacking(model: object, purpose: str, access: str, protocol: type, names: str) -> ModelError:
    absent = [name for name in names.split() if name not in dir(model)]
    lacks = f" It lacks {', '.join(absent)}." if absent else ""
    return ModelError(
        f"{purpose} needs {access} access, but {type(model).__name__} does not satisfy models.{protocol.__name__}."
        f"{lacks} Pass what load_model(...) returns, or implement the protocol."
    )
