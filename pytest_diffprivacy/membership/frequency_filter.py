"""Frequency filter: errors at high spatial frequencies differ between images for other reasons than membership.

They are damped before an attack takes its norm. The filter is linear: filtering an error is filtering what it compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.schedule import Point

HALF_WIDTH: Final = 5
SCALE: Final = 0.2
Space = Literal["noise", "x0"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyFilter:
    """What `frequency_filter=` of the loss attack, SecMI, PIA and CLiD takes. Fix it before labels are seen.

    Attributes:
        half_width: t, in frequencies: those k with -t <= k < t on both axes are kept, at most half the shorter side.
        scale: s in [0, 1], what is left of the others; 1 filters nothing.
        band: t as a fraction of the Nyquist frequency of the shorter side, in (0, 1], in place of `half_width`, for
            one setting at several resolutions.
        space: where loss, PIA and CLiD filter: the error of the noise, or that of the clean image, which is
            sigma_t / alpha_t times as large. At one timestep both rank alike; SecMI compares states in either case.
    """

    half_width: int = HALF_WIDTH
    scale: float = SCALE
    band: float | None = None
    space: Space = "noise"

    def __post_init__(self) -> None:
        """Refuse settings that no image can be filtered with."""
        if not 0.0 <= self.scale <= 1.0:
            raise UsageError(f"`scale` must be between 0 and 1, got {self.scale!r}.")
        if self.half_width < 1:
            raise UsageError(f"`half_width` must be at least 1, got {self.half_width!r}.")
        if self.band is not None and not 0.0 < self.band <= 1.0:
            raise UsageError(f"`band` must be above 0 and at most 1 (the Nyquist frequency), got {self.band!r}.")
        if self.space not in get_args(Space):
            raise UsageError(f"`space` must be one of {', '.join(get_args(Space))}, got {self.space!r}.")

    def __str__(self) -> str:
        kept = f"half-width {self.half_width}" if self.band is None else f"{self.band:g} of Nyquist"
        return f"{kept}, scale {self.scale:g}, in the space of {self.space}"

    def width(self, shape: tuple[int, ...]) -> int:
        """Half-width t on a grid (..., height, width).

        Raises:
            UsageError: the kept square would be larger than the grid and wrap around.
        """
        half = min(shape[-2:]) / 2
        if self.band is not None:
            return max(1, round(self.band * half))
        if self.half_width > half:
            raise UsageError(
                f"`half_width` must be at most {int(half)}, half of the shorter side of {shape[-2]} x {shape[-1]}, got "
                f"{self.half_width}: the kept square would wrap. Give FrequencyFilter(band=...), a fraction of Nyquist."
            )
        return self.half_width

    def fraction(self, shape: tuple[int, ...]) -> float:
        """The kept band of a grid (..., height, width) as a fraction of its Nyquist frequency."""
        return self.width(shape) / (min(shape[-2:]) / 2)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (..., height, width) with their high frequencies damped."""
        height, width = images.shape[-2:]
        weights = _weights((height, width), self.width((height, width)), self.scale).to(images)
        transformed = torch.fft.rfft2(images) * weights[:, : width // 2 + 1]
        damped: Tensor = torch.fft.irfft2(transformed, s=(height, width))
        return damped


def frequency_filter(
    images: Tensor, half_width: int = HALF_WIDTH, scale: float = SCALE, *, band: float | None = None
) -> Tensor:
    """Damp an image's high spatial frequencies, channel by channel.

    Args:
        images: (..., height, width), floating point.
        half_width: t, in frequencies: those k with -t <= k < t on both axes are kept, at most half the shorter side.
        scale: s in [0, 1]: the others are multiplied by it.
        band: t as a fraction of the Nyquist frequency of the shorter side, in place of `half_width`.

    Returns:
        The same shape, `real(ifft2(w fft2(x)))`. The kept square has no mirror image for k = -t, so that a frequency
        whose mirror lies outside keeps (1 + s) / 2.

    Raises:
        UsageError: a bad setting, or a square that is larger than the image.

    Source: Implements the filter of FreMIA (arXiv 2505.20955) except that a square which would wrap is refused.
    """
    return FrequencyFilter(half_width=half_width, scale=scale, band=band)(images)


def filtered(error: Tensor, chosen: FrequencyFilter | None, point: Point | None = None) -> Tensor:
    """An attack's error, float64, filtered where a filter is chosen.

    Args:
        error: (b, channels, height, width).
        chosen: what the attack's `frequency_filter` is; None: nothing.
        point: alpha and sigma of an error of the noise; None: the error is one of states.

    Raises:
        UsageError: something else than a filter, or one that is larger than the grid.
    """
    if chosen is None:
        return error.double()
    if not isinstance(chosen, FrequencyFilter):
        raise UsageError(f"`frequency_filter` must be a membership.FrequencyFilter or None, got {chosen!r}.")
    damped = chosen(error.double())
    return damped if point is None or chosen.space == "noise" else damped * (point[1] / point[0])


def _weights(size: tuple[int, int], width: int, scale: float) -> Tensor:
    """What the real part of a filtered image keeps of each frequency, the mean of w at k and -k; float64 (h, w)."""
    kept = []
    for side in size:
        k = (torch.arange(side) + side // 2) % side - side // 2  # signed frequencies in the order of fft
        kept.append((k >= -width) & (k < width))
    inside = kept[0][:, None] & kept[1][None, :]
    weights = scale + (1.0 - scale) * inside.double()
    mirrored = weights.flip(0, 1).roll((1, 1), (0, 1))
    return (weights + mirrored) / 2
