"""Degradation: what is taken away from an image, and what is left to restore it from.

The contract of every degradation: given a batch of images it says what stays visible, which pixels were hidden, and
how a state of the model is split into its known and its hidden part. The rule that makes a degradation never knows
who is a member, so members and non-members are degraded alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.restoration.routines import Projection, check_mask

Given: TypeAlias = ArrayLike | Tensor | Callable[[Tensor], Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Images to degrade, and what a degradation may look at besides them.

    Attributes:
        images: (b, channels, height, width) in [0, 1] on the CPU.
        part: their place among all images, for what the user gave one of an image.
        total: number of all images.
        seed: the run's seed.
        model: the model under audit; None: model-free.
        conditioning: the batch's conditioning, or None.
    """

    images: Tensor
    part: slice
    total: int
    seed: int
    model: Denoiser | None = None
    conditioning: Conditioning | None = None


@dataclass(frozen=True, slots=True)
class Degraded:
    """Degraded images, all on the CPU in float64.

    Attributes:
        shown: (b, channels, height, width) in [0, 1], what a reader sees: hidden pixels filled with the mean of the
            known ones, blurred, or pixelated.
        visible: the same size, what the restoration starts from: filled as above, or A^+ y of a degradation y = A x.
        known: (b, 1, height, width), 1 known and 0 hidden; None where no pixel is known as it is.
        project: A^+ A in pixel space where `known` is None.
    """

    shown: Tensor
    visible: Tensor
    known: Tensor | None
    project: Projection | None = None

    @property
    def hidden(self) -> Tensor:
        """Bool (b, 1, height, width): the pixels that are compared."""
        if self.known is None:
            return torch.ones_like(self.shown[:, :1], dtype=torch.bool)
        return self.known == 0


@runtime_checkable
class Degradation(Protocol):
    """One way of degrading images."""

    @property
    def name(self) -> str:
        """Short name; it also sets the noise of different degradations apart."""
        ...

    @property
    def evaluations(self) -> int:
        """Network evaluations an image costs before any restoration."""
        ...

    def degrade(self, batch: Batch) -> Degraded:
        """The batch, degraded."""
        ...


def hide(batch: Batch, known: Tensor, name: str = "masks") -> Degraded:
    """Hide the pixels where `known`, (b, 1, height, width), is 0 behind the mean colour of the others."""
    b, _, height, width = batch.images.shape
    m = check_mask(known, (b, 1, height, width), name, first=batch.part.start)
    images = batch.images.double()
    mean = (images * m).sum((2, 3), keepdim=True) / m.sum((2, 3), keepdim=True)
    filled = torch.where(m > 0, images, mean)
    return Degraded(shown=filled, visible=filled, known=m)


def given_rows(given: Given, batch: Batch, name: str) -> Tensor:
    """The batch's rows of what the user gave: an array (all images, ...), or a function of (b, ...) images."""
    found, wanted = (given(batch.images), len(batch.images)) if callable(given) else (given, batch.total)
    values = torch.as_tensor(found)
    if values.ndim == 0 or len(values) != wanted:
        raise UsageError(
            f"`{name}` must hold one row for each of {wanted} images, got {tuple(values.shape)}. Give one an image in "
            "the images' order, or a function of the images (an audit scores them in parts)."
        )
    values = values.detach().cpu()
    return values if callable(given) else values[batch.part]


def rms_hidden(restored: Tensor, originals: Tensor, hidden: Tensor) -> Tensor:
    """Root of the mean squared difference over hidden pixels and all channels, on [0, 1].

    Args:
        restored: (n, channels, height, width) in [0, 1].
        originals: the same shape.
        hidden: bool (n, 1, height, width).

    Returns:
        float64 (n,), a distance: lower = closer.

    Source: Implements METHODS 0.1 restricted to hidden pixels.
    """
    squared = (restored.double() - originals.double()).square().mean(1, keepdim=True) * hidden
    return (squared.flatten(1).sum(1) / hidden.flatten(1).sum(1)).sqrt()
