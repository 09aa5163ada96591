"""Masks: halves, random patches, regions, boxes such as faces, the user's own; and which degradation a name stands for.

m = 1 known, m = 0 hidden. Pass one of these as `masks=[...]`. Names: "left", "random:0.3", "region:0,0,4,4",
"saliency", "blur:1.5", "downsample:2".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias, final

import numpy as np
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.noise import image_digest, noise_stream
from pytest_diffprivacy.models.scoring import ImageBatch
from pytest_diffprivacy.restoration.degrade import (
    Blur,
    Degradation,
    Degraded,
    Downsample,
    Given,
    given_rows,
    hide,
)
from pytest_diffprivacy.restoration.saliency import SALIENT_SHARE, Saliency

Masks: TypeAlias = str | Degradation | Sequence[str | Degradation]
SIDES: Final = ("left", "right", "top", "bottom")


@final
@dataclass(frozen=True, slots=True)
class Half:
    """One half of every image is hidden: "left", "right", "top" or "bottom" (of an odd side, the smaller half).

    Source: Follows METHODS 3.11, mask family `half`.
    """

    evaluations: ClassVar[int] = 0
    side: str

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise UsageError(f"`side` must be one of {', '.join(SIDES)}, got {self.side!r}. It is the hidden half.")

    @property
    def name(self) -> str:
        """The side."""
        return self.side

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Hide the half."""
        height, width = batch.images.shape[2:]
        box = {
            "left": (0, 0, width // 2, height),
            "right": (width - width // 2, 0, width, height),
            "top": (0, 0, width, height // 2),
            "bottom": (0, height - height // 2, width, height),
        }[self.side]
        return _hide_boxes(batch, [box] * len(batch.images), "masks")


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

    evaluations: ClassVar[int] = 0
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

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Hide the patches."""
        _, _, height, width = batch.images.shape
        side = self.side or max(1, min(height, width) // 8)
        rows, columns = -(-height // side), -(-width // side)
        count = min(max(1, round(self.ratio * rows * columns)), rows * columns - 1)
        cells = np.ones((len(batch.images), 1, rows, columns))
        for cell, image in zip(cells, batch.images.to(torch.float32).numpy(), strict=True):
            order = noise_stream("patches", batch.seed, image_digest(image)).permutation(rows * columns)
            cell.reshape(-1)[order[:count]] = 0.0
        known = torch.from_numpy(cells).repeat_interleave(side, 2).repeat_interleave(side, 3)
        return hide(batch, known[:, :, :height, :width])


@final
@dataclass(frozen=True, slots=True)
class Region:
    """The same box of every image is hidden, in whole pixels; right and bottom are excluded.

    Source: ours.
    """

    evaluations: ClassVar[int] = 0
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

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Hide the box.

        Raises:
            UsageError: it leaves the image, or is the whole of it.
        """
        height, width = batch.images.shape[2:]
        if self.right > width or self.bottom > height:
            raise UsageError(f"`region` must lie within {width} x {height} pixels, got {self.name!r}.")
        return _hide_boxes(batch, [(self.left, self.top, self.right, self.bottom)] * len(batch.images), "region")


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

    evaluations: ClassVar[int] = 0
    boxes: Given
    label: str = "face"

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Hide the boxes.

        Raises:
            UsageError: not (n, 4), or a box that is empty or leaves its image.
        """
        boxes = given_rows(self.boxes, batch, "boxes")
        _, _, height, width = batch.images.shape
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise UsageError(f"`boxes` must have shape (n, 4), got rows of {tuple(boxes.shape[1:])}. One box an image.")
        for i, box in enumerate(boxes.tolist()):
            left, top, right, bottom = box
            whole = all(float(edge).is_integer() for edge in box)
            if not (whole and 0 <= left < right <= width and 0 <= top < bottom <= height):
                raise UsageError(
                    f"`boxes` must be whole pixels left < right <= {width} and top < bottom <= {height}, got {box} for "
                    f"image {batch.part.start + i}. Leave images without a box out of members and non-members alike."
                )
        return _hide_boxes(batch, boxes.long().tolist(), "boxes")


@final
@dataclass(frozen=True, slots=True, eq=False)
class GivenMasks:
    """Masks of the user's own.

    Args:
        masks: (n, height, width) or (n, 1, height, width), 1 known and 0 hidden, or a callable (images) -> such masks.
        label: what records call them.

    Source: ours.
    """

    evaluations: ClassVar[int] = 0
    masks: Given
    label: str = "given"

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    def degrade(self, batch: ImageBatch) -> Degraded:
        """Hide what the masks say.

        Raises:
            UsageError: wrong number, size or values, or a mask that shows or hides everything.
        """
        known = given_rows(self.masks, batch, "masks")
        return hide(batch, known[:, None] if known.ndim == 3 else known)


def find_degradations(masks: Masks) -> tuple[Degradation, ...]:
    """The degradations that `masks=` asks for.

    Args:
        masks: one or several names or degradations.

    Raises:
        UsageError: an unknown name, none at all, or two of one name.

    Source: ours.
    """
    listed = [masks] if isinstance(masks, (str, Degradation)) else list(masks)
    found = tuple(_named(m) if isinstance(m, str) else m for m in listed)
    for degradation in found:
        if not isinstance(degradation, Degradation):
            raise UsageError(
                f"`masks` must be names or degradations, got {type(degradation).__name__}. Wrap arrays: "
                "GivenMasks(array), Boxes(array) or Saliency(maps=array)."
            )
    names = [degradation.name for degradation in found]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"`masks` must be at least one and of different names, got {names}. Set their labels.")
    return found


_WITH_NUMBER: Final[Mapping[str, Callable[[str], Degradation]]] = {
    "random": lambda text: RandomPatches(float(text)),
    "region": lambda text: _region(text),
    "saliency": lambda text: Saliency(share=float(text or SALIENT_SHARE)),
    "blur": lambda text: Blur(float(text)),
    "downsample": lambda text: Downsample(int(text)),
}


def _region(text: str) -> Region:
    left, top, right, bottom = (int(edge) for edge in text.split(","))
    return Region(left, top, right, bottom)


def _named(text: str) -> Degradation:
    if text in SIDES:
        return Half(text)
    kind, _, number = text.partition(":")
    try:
        return _WITH_NUMBER[kind](number)
    except UsageError:
        raise
    except (KeyError, ValueError):
        forms = "random:RATIO, region:LEFT,TOP,RIGHT,BOTTOM, saliency, blur:SIGMA, downsample:FACTOR"
        raise UsageError(f"`masks` must be among {', '.join(SIDES)}, {forms}, got {text!r}.") from None


def _hide_boxes(batch: ImageBatch, boxes: Sequence[Sequence[int]], name: str) -> Degraded:
    """Hide one box (left, top, right, bottom) of each image; right and bottom are excluded."""
    known = torch.ones(len(boxes), 1, *batch.images.shape[2:], dtype=torch.float64)
    for mask, (left, top, right, bottom) in zip(known, boxes, strict=True):
        mask[:, top:bottom, left:right] = 0.0
    return hide(batch, known, name)
