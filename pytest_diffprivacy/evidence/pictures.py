"""How does an image enter a record without leaking it? Re-encoded from pixels, pixelated unless asked otherwise."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_diffprivacy.evidence.records import Picture

REDACTED_SIDE = 16
LARGEST_SIDE = 120


def picture(image: NDArray[np.floating], label: str, *, redacted: bool) -> Picture:
    """An image as PNG without metadata.

    Args:
        image: (channels, height, width) in [0, 1]; 1 or 3 channels.
        label: what stands below it.
        redacted: average blocks so that at most 16 x 16, and at most half of each side, remain.
    """
    pixels = np.clip(np.asarray(image, dtype=np.float64), 0.0, 1.0)
    _, height, width = pixels.shape
    levels = np.round(pixels * 255.0).astype(np.uint8)
    drawn = Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return encode(shrunk(drawn, _redacted_side(height, width) if redacted else LARGEST_SIDE), label)


def difference_map(a: NDArray[np.floating], b: NDArray[np.floating], label: str) -> Picture:
    """Where two images agree: white = equal, black = RMS difference of 0.5 or more.

    Always in the blocks of a redacted picture: beside a plain image, a full map would show the other one.
    """
    distance = np.sqrt(((np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)) ** 2).mean(0))
    levels = np.round(255.0 * (1.0 - np.clip(distance / 0.5, 0.0, 1.0))).astype(np.uint8)
    return encode(shrunk(Image.fromarray(levels), _redacted_side(*distance.shape)), label)


def _redacted_side(height: int, width: int) -> int:
    return min(REDACTED_SIDE, max(1, min(height, width) // 2))


def shrunk(drawn: Image.Image, side: int) -> Image.Image:
    """Averaged to blocks, so that the longer side is at most `side`."""
    scale = min(1.0, side / max(drawn.size))
    size = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
    return drawn if size == drawn.size else drawn.resize(size, Image.Resampling.BOX)


def encode(drawn: Image.Image, label: str) -> Picture:
    """A drawn image as PNG, with nothing in it but pixels."""
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG", optimize=False, compress_level=9)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(label=label, png_base64=text, width=drawn.width, height=drawn.height)
