"""Blur and downsampling: linear degradations y = A x that hide no pixel, and their A^+ A.

Both act in pixel space and on every channel alike, and both A^+ A are orthogonal projections, so that the restoration
routines treat them as they treat a mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.restoration.degrade import Batch, Degraded

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

    def degrade(self, batch: Batch) -> Degraded:
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

    def degrade(self, batch: Batch) -> Degraded:
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


def _check_pixel_model(batch: Batch, name: str) -> None:
    if batch.model is not None and tuple(batch.model.sample_shape) != tuple(batch.model.image_shape):
        raise ModelError(
            f"{name} acts on pixels, but {batch.model.identity.name} works on latents of shape "
            f"{batch.model.sample_shape}. Use masks."
        )
