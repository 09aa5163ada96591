"""Is a memorized prompt's whole picture the same every time, or only a part of it?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.pixels import GRID4, tile_side
from pytest_diffprivacy.errors import UsageError

SAME_TILE: Final = 0.15
"""RMS distance up to which two tiles are one: the papers' delta for two pictures."""
WHOLE: Final = 0.75
"""Share of tiles that must be the same in a pair of generations for the whole picture to be."""
BRIGHT: Final = 1.0


class Kind(StrEnum):
    """How much of a picture comes back."""

    EXACT = "exact"
    PARTIAL = "partial"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class PromptKind:
    """What a prompt's generations have in common.

    Attributes:
        kind: by the fixed rule of `prompt_kinds`.
        agreement: share of tiles that are the same, mean over pairs of generations.
        bright_area: share of the latent that is as bright as its mean in the end token's attention; None where the
            attention cannot be read.
    """

    kind: Kind
    agreement: float
    bright_area: float | None


def prompt_kinds(
    images: NDArray[np.uint8], masks: NDArray[Any] | None = None, *, tile: int | str = GRID4
) -> list[PromptKind]:
    """Tell exact from partial memorization of prompts that a detector has found.

    A pair of generations agrees in a tile if its RMS distance is at most 0.15. Exact: on average at least three
    quarters of a pair's tiles agree. Partial: fewer, but at least one tile in eight. Unclear: less than that, so that
    nothing visible comes back.

    Args:
        images: (prompts, images, channels, height, width), at least 2 images a prompt.
        masks: attention to the end token in the last step, (prompts, images, height, width); None: not read.
        tile: "grid4" for a quarter of each side, or the side in pixels.

    Raises:
        UsageError: fewer than 2 images, or ragged tiles.

    Source: Inspired by Carlini et al. 2023 (tiled distance) and Chen et al. 2025 (bright area); the rule is ours.
    """
    if images.ndim != 5 or images.shape[1] < 2:
        raise UsageError(f"`images` must be (prompts, images >= 2, channels, height, width), got {images.shape}.")
    agreements = [_agreement(rows.astype(np.float64) / 255.0, tile) for rows in images]
    areas = [None] * len(images) if masks is None else [bright_area(rows) for rows in masks]
    return [PromptKind(_kind(a), a, area) for a, area in zip(agreements, areas, strict=True)]


def bright_area(masks: NDArray[Any]) -> float:
    """Share of positions as bright as the mask's mean or brighter, mean over images; (images, height, width)."""
    flat = masks.reshape(len(masks), -1).astype(np.float64)
    return float((flat >= BRIGHT * flat.mean(1, keepdims=True)).mean())


def _kind(agreement: float) -> Kind:
    if agreement >= WHOLE:
        return Kind.EXACT
    return Kind.PARTIAL if agreement >= 1.0 / 8.0 else Kind.UNCLEAR


def _agreement(images: NDArray[np.float64], tile: int | str) -> float:
    count, channels, height, width = images.shape
    rows, columns = tile_side(height, width, tile)
    tiles = images.reshape(count, channels, height // rows, rows, width // columns, columns)
    first, second = np.triu_indices(count, 1)
    distances = np.sqrt(((tiles[first] - tiles[second]) ** 2).mean(axis=(1, 3, 5)))
    return float((distances <= SAME_TILE).mean())
