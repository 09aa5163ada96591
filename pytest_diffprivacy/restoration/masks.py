"""Which pixels are hidden? Halves, random patches, a face box, or masks of the user's own.

m = 1 known, m = 0 hidden. Pass one of these as `masks=[...]`; halves, random patches and regions also have names
("left", "random:0.3", "region:0,0,4,4").
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.restoration.degrade import Batch, Degraded, given_rows, hide

Given: TypeAlias = ArrayLike | Tensor | Callable[[Tensor], Any]
SIDES: Final = ("left", "right", "top", "bottom")
ONE_EACH = "Give one an image in the images' order, or a function of the images (an audit scores them in parts)."


@final
@dataclass(frozen=True, slots=True)
class Half:
    """One half of every image is hidden: "left", "right", "top" or "bottom" (of an odd side, the smaller half).

    Source: Follows METHODS 3.11, mask family `half`.
    """

    side: str

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise UsageError(f"`side` must be one of {', '.join(SIDES)}, got {self.side!r}. It is the hidden half.")

    @property
    def name(self) -> str:
        """The side."""
        return self.side

    @property
    def evaluations(self) -> int:
        """None."""
        return 0

    def degrade(self, batch: Batch) -> Degraded:
        """Hide the half."""
        b, _, height, width = batch.images.shape
        known = torch.ones(b, 1, height, width, dtype=torch.float64)
        rows = {"top": slice(0, height // 2), "bottom": slice(height - height // 2, height)}
        columns = {"left": slice(0, width // 2), "right": slice(width - width // 2, width)}
        known[:, :, rows.get(self.side, slice(None)), columns.get(self.side, slice(None))] = 0.0
        return hide(batch, known)


@final
@dataclass(frozen=True, slots=True)
class RandomPatches:
    """Square patches of a grid are hidden, chosen by seed and the image's own digest.

    The patches of a smaller ratio are among those of a larger one.

    Args:
        ratio: hidden share of the patches, in (0, 1), at least one and not all; the paper ablates 0.1 to 0.5.
        side: side of a patch in pixels; None: an eighth of the image's shorter side, at least 1. Patches that do not
            fit are cut off at the right and lower edge.

    Source: Follows METHODS 3.11, mask family `random`; the grid is ours.
    """

    ratio: float
    side: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise UsageError(f"`ratio` must be strictly between 0 and 1, got {self.ratio!r}. Usual are 0.1 to 0.5.")
        if self.side is not None and self.side < 1:
            raise UsageError(f"`side` must be at least 1 pixel, got {self.side!r}. Leave it out for an eighth.")

    @property
    def name(self) -> str:
        """Family and ratio."""
        return f"random:{self.ratio:g}" + ("" if self.side is None else f":{self.side}")

    @property
    def evaluations(self) -> int:
        """None."""
        return 0

    def degrade(self, batch: Batch) -> Degraded:
        """Hide the patches."""
        _, _, height, width = batch.images.shape
        side = self.side or max(1, min(height, width) // 8)
        rows, columns = -(-height // side), -(-width // side)
        count = min(max(1, round(self.ratio * rows * columns)), rows * columns - 1)
        cells = np.ones((len(batch.images), 1, rows, columns))
        for cell, image in zip(cells, batch.images.to(torch.float32).numpy(), strict=True):
            key = hashlib.sha256(f"patches|{batch.seed}|".encode() + image_digest(image)).digest()
            order = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
            cell.reshape(-1)[order.permutation(rows * columns)[:count]] = 0.0
        known = torch.from_numpy(cells).repeat_interleave(side, 2).repeat_interleave(side, 3)
        return hide(batch, known[:, :, :height, :width])


@final
@dataclass(frozen=True, slots=True)
class Region:
    """The same box of every image is hidden, in whole pixels; right and bottom are excluded.

    Source: ours.
    """

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise UsageError(f"`region` must be 0 <= left < right and 0 <= top < bottom, got {self.name!r}.")

    @property
    def name(self) -> str:
        """Its edges."""
        return f"region:{self.left},{self.top},{self.right},{self.bottom}"

    @property
    def evaluations(self) -> int:
        """None."""
        return 0

    def degrade(self, batch: Batch) -> Degraded:
        """Hide the box.

        Raises:
            UsageError: it leaves the image, or is the whole of it.
        """
        b, _, height, width = batch.images.shape
        if self.right > width or self.bottom > height:
            raise UsageError(f"`region` must lie within {width} x {height} pixels, got {self.name!r}.")
        known = torch.ones(b, 1, height, width, dtype=torch.float64)
        known[:, :, self.top : self.bottom, self.left : self.right] = 0.0
        return hide(batch, known, "region")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """A box of every image is hidden, e.g. the face.

    Args:
        boxes: (n, 4) whole pixels left, top, right, bottom (right and bottom excluded), or a detector: a callable
            (images (b, channels, height, width) in [0, 1]) -> (b, 4).
        label: what records call it.

    Source: Follows METHODS 3.11, mask family `face`.
    """

    boxes: Given
    label: str = "face"

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    @property
    def evaluations(self) -> int:
        """None; a detector is not the model under audit."""
        return 0

    def degrade(self, batch: Batch) -> Degraded:
        """Hide the boxes.

        Raises:
            UsageError: not (n, 4), or a box that is empty or leaves its image.
        """
        boxes = given_rows(self.boxes, batch, "boxes", ONE_EACH)
        _, _, height, width = batch.images.shape
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise UsageError(f"`boxes` must have shape (n, 4), got rows of {tuple(boxes.shape[1:])}. One box an image.")
        known = torch.ones(len(boxes), 1, height, width, dtype=torch.float64)
        for i, box in enumerate(boxes.tolist()):
            left, top, right, bottom = box
            whole = all(float(edge).is_integer() for edge in box)
            if not (whole and 0 <= left < right <= width and 0 <= top < bottom <= height):
                raise UsageError(
                    f"`boxes` must be whole pixels left < right <= {width} and top < bottom <= {height}, got {box} for "
                    f"image {batch.part.start + i}. Leave images without a box out of members and non-members alike."
                )
            known[i, :, int(top) : int(bottom), int(left) : int(right)] = 0.0
        return hide(batch, known, "boxes")


@final
@dataclass(frozen=True, slots=True, eq=False)
class GivenMasks:
    """Masks of the user's own.

    Args:
        masks: (n, height, width) or (n, 1, height, width), 1 known and 0 hidden, or a callable (images) -> such masks.
        label: what records call them.

    Source: ours.
    """

    masks: Given
    label: str = "given"

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    @property
    def evaluations(self) -> int:
        """None."""
        return 0

    def degrade(self, batch: Batch) -> Degraded:
        """Hide what the masks say.

        Raises:
            UsageError: wrong number, size or values, or a mask that shows or hides everything.
        """
        known = given_rows(self.masks, batch, "masks", ONE_EACH)
        return hide(batch, known[:, None] if known.ndim == 3 else known)
