"""Degradation: what is taken away from an image, and what is left to restore it from.

The contract of every degradation: given a batch of images it says what stays visible, which pixels were hidden, and
how a state of the model is split into its known and its hidden part. The rule that makes a degradation never knows
who is a member, so members and non-members are degraded alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, final, runtime_checkable

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration.routines import Projection, check_mask

Given: TypeAlias = ArrayLike | Tensor | Callable[[Tensor], Any]


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

    def degrade(self, batch: ImageBatch) -> Degraded:
        """The batch, degraded."""
        ...


def hide(batch: ImageBatch, known: Tensor, name: str = "masks") -> Degraded:
    """Hide the pixels where `known`, (b, 1, height, width), is 0 behind the mean colour of the others."""
    b, _, height, width = batch.images.shape
    m = check_mask(known, (b, 1, height, width), name, first=batch.part.start)
    images = batch.images.double()
    mean = (images * m).sum((2, 3), keepdim=True) / m.sum((2, 3), keepdim=True)
    filled = torch.where(m > 0, images, mean)
    return Degraded(shown=filled, visible=filled, known=m)


def given_rows(given: Given, batch: ImageBatch, name: str) -> Tensor:
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


LOST_GAIN = 0.1


@final
@dataclass(frozen=True, slots=True)
class Downsample:
    """Every block of factor x factor pixels is replaced by its mean.

    A takes block means and A^+ repeats them, so A^+ A is the pixelated image.

    Args:
        factor: side of a block in pixels, at least 2; must divide height and width.

    Source: Implements the average-pooling operator of Wang et al. 2023 (DDNM), section 3.2.
    """

    evaluations: ClassVar[int] = 0
    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise UsageError(f"`factor` must be at least 2, got {self.factor!r}. 1 would hide nothing.")

    @property
    def name(self) -> str:
        """Kind and factor."""
        return f"downsample:{self.factor}"

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Pixelate.

        Raises:
            UsageError: the factor does not divide the image's sides.
            ModelError: a latent model.
        """
        _check_pixel_model(batch, self.name)
        _, _, height, width = batch.images.shape
        if height % self.factor or width % self.factor:
            raise UsageError(f"`factor` must divide height and width, got {self.factor} for {height} x {width}.")
        coarse = self.project(batch.images.double())
        return Degraded(shown=coarse, visible=coarse, known=None, project=self.project)

    def project(self, x: Tensor) -> Tensor:
        """A^+ A x."""
        means = torch.nn.functional.avg_pool2d(x, self.factor)
        return means.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)


@final
@dataclass(frozen=True, slots=True)
class Blur:
    """A Gaussian blur with mirrored edges that loses the finest detail altogether.

    In the cosine basis such a blur multiplies component k of an axis with N pixels by exp(-(sigma pi k / N)^2 / 2).
    An exact blur loses nothing: whatever its strength, A^+ A would be the identity and every image would come back.
    So components whose gain falls below 0.1 are set to zero in y; A^+ divides the others by their gain.

    Args:
        sigma: standard deviation in pixels, above 0, and so large that something is lost.

    Source: Follows Wang et al. 2023 (DDNM), null-space correction with the pseudo-inverse of a blur, except that the
        singular values are those of the cosine transform and are cut off at 0.1.
    """

    evaluations: ClassVar[int] = 0
    sigma: float

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise UsageError(f"`sigma` must be above 0 pixels, got {self.sigma!r}. Usual are 1 to 4.")

    @property
    def name(self) -> str:
        """Kind and width."""
        return f"blur:{self.sigma:g}"

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Blur.

        Raises:
            UsageError: the blur is too weak to lose anything at this image size.
            ModelError: a latent model.
        """
        _check_pixel_model(batch, self.name)
        images = batch.images.double()
        gains = self._gains(images)
        if bool((gains >= LOST_GAIN).all()):
            raise UsageError(
                f"`sigma` must be larger, got {self.sigma!r}: at {images.shape[2]} x {images.shape[3]} pixels no "
                "component is lost, so nothing is hidden."
            )
        blurred = _filter(images, torch.where(gains >= LOST_GAIN, gains, torch.zeros_like(gains)))
        return Degraded(blurred.clamp(0.0, 1.0), self.project(images), None, self.project)

    def project(self, x: Tensor) -> Tensor:
        """A^+ A x: the components that are not lost."""
        return _filter(x, (self._gains(x) >= LOST_GAIN).to(x))

    def _gains(self, x: Tensor) -> Tensor:
        """Gain of every component, (height, width)."""
        rows, columns = (
            torch.exp(-0.5 * (self.sigma * torch.pi * torch.arange(n, dtype=torch.float64) / n) ** 2)
            for n in x.shape[2:]
        )
        return (rows[:, None] * columns[None, :]).to(x)


def _filter(x: Tensor, gains: Tensor) -> Tensor:
    """Multiply the cosine components of x (n, c, height, width) with gains (height, width)."""
    rows, columns = _cosines(x.shape[2]).to(x), _cosines(x.shape[3]).to(x)
    return rows.T @ (gains * (rows @ x @ columns.T)) @ columns


def _cosines(n: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of n values, float64 (n, n), a component a row."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)[None, :]
    basis = math.sqrt(2.0 / n) * torch.cos(torch.pi * k * (i + 0.5) / n)
    basis[0] /= math.sqrt(2.0)
    return basis


def _check_pixel_model(batch: ImageBatch, name: str) -> None:
    if batch.model is not None and tuple(batch.model.sample_shape) != tuple(batch.model.image_shape):
        raise ModelError(
            f"{name} acts on pixels, but {batch.model.identity.name} works on latents of shape "
            f"{batch.model.sample_shape}. Use masks."
        )
