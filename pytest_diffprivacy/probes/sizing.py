"""Sizing: how training brought images to the model's size, by its shorter side and a centre crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_diffprivacy.errors import ProbeError

FILTERS = {resampling.name.lower(): resampling for resampling in Image.Resampling}


@dataclass(frozen=True, slots=True)
class Sizing:
    """Resize and Crop as torchvision's `Resize(size, filter)` and `CenterCrop(side)` do them on Pillow's images.

    Attributes:
        size: pixels of the shorter side; None: as it is.
        filter: the name of Pillow's filter.
        crop: pixels of each side of the square in the middle; None: no crop.
    """

    size: int | None
    filter: str
    crop: int | None

    @classmethod
    def of(cls, resize: int | str | None, crop: int | str | bool | None) -> Sizing | None:
        """From the arguments of a ProbeSet: 512 or "512:bicubic", and 512 or True for the size resized to.

        Raises:
            ProbeError: they name no size or filter.
        """
        if resize is None and (crop is None or crop is False):
            return None
        number, _, name = ("" if resize is None else str(resize)).partition(":")
        if crop is True:
            crop = number
        sides = [None if side is None or side == "" else str(side) for side in (number, crop or None)]
        if any(side is not None and (not side.isdecimal() or int(side) == 0) for side in sides) or crop == "":
            raise ProbeError(
                f"`resize` must be a size or size:filter such as 512:bicubic, and `crop` a size or True for that of "
                f"`resize`, got {resize!r} and {crop!r}."
            )
        if (name or "bilinear") not in FILTERS:
            raise ProbeError(f"The filter of `resize` must be one of {', '.join(FILTERS)}, got {name!r}.")
        size, square = (None if side is None else int(side) for side in sides)
        return cls(size, name or "bilinear", square)

    def __str__(self) -> str:
        """As a record says it."""
        parts = [f"shorter side {self.size}, {self.filter}"] if self.size else []
        return ", ".join(parts + ([f"centre crop {self.crop}"] if self.crop else []))

    def __call__(self, image: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """An image (channels, height, width) in [0, 1] at its size; one of 8 bits is rounded to them, as Pillow does.

        Raises:
            ProbeError: it is smaller than the crop; the message starts with `name`.
        """
        if self.size:
            image = self._resized(image)
        if self.crop is None:
            return image
        height, width = image.shape[1:]
        if min(height, width) < self.crop:
            raise ProbeError(
                f"{name} has {width} x {height} pixels, fewer than the crop of {self.crop}. Give resize={self.crop}."
            )
        top, left = round((height - self.crop) / 2.0), round((width - self.crop) / 2.0)
        return np.ascontiguousarray(image[:, top : top + self.crop, left : left + self.crop])

    def _resized(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self.size is not None
        height, width = image.shape[1:]
        if min(height, width) == self.size:
            return image
        longer = int(self.size * max(height, width) / min(height, width))
        wanted = (longer, self.size) if width > height else (self.size, longer)
        levels = np.rint(image * np.float32(255.0)).astype(np.uint8)
        in_bytes = np.array_equal(levels.astype(np.float32) / np.float32(255.0), image)
        channels = [Image.fromarray(channel) for channel in (levels if in_bytes else image)]
        found = np.stack([np.asarray(c.resize(wanted, FILTERS[self.filter]), dtype=np.float32) for c in channels])
        return found / np.float32(255.0) if in_bytes else np.clip(found, 0.0, 1.0)
