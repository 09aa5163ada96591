"""Statistics of an image without a model: brightness, texture, size, file and caption, as numbers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pytest_diffprivacy.probes.image_set import ImageSet

Matrix = NDArray[np.float64]

BLOCK = 8
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def statistics_of(
    images: ImageSet, seen: Callable[[NDArray[np.float32]], Matrix] | None = None
) -> tuple[tuple[str, ...], Matrix, Matrix]:
    """Names and values of the statistics of every image, in the order of the set; each image is read once.

    Args:
        images: the set.
        seen: what else is wanted of the same reading, images (b, channels, height, width) to (b, m); None: nothing.

    Returns:
        Names (k,), float64 (n, k), and what `seen` gave, (n, m). Which statistics there are depends on the images'
        shape, on whether they are files and on whether they have prompts: two sides of one probe set need not have
        the same.

    Source: Follows the list of METHODS 7.10.
    """
    parts = list(
        images.each(lambda batch: (pixel_statistics(batch), seen(batch) if seen else np.empty((len(batch), 0))))
    )
    columns = {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
    facts = images.file_facts()
    if facts is not None:
        columns |= dict(zip(facts[0], facts[1].T, strict=True))
    prompts = images.prompts(range(len(images)))
    if prompts is not None and all(isinstance(prompt, str) for prompt in prompts):
        columns["caption, characters"] = np.array([len(str(prompt)) for prompt in prompts])
        columns["caption, words"] = np.array([len(str(prompt).split()) for prompt in prompts])
    elif prompts is not None:
        columns["class index"] = np.array([float(prompt) for prompt in prompts])
    values = np.stack(list(columns.values()), axis=1, dtype=np.float64)
    return tuple(columns), values, np.concatenate([other for _, other in parts])


def pixel_statistics(images: NDArray[np.float32]) -> dict[str, Matrix]:
    """Statistics of pixels by name, float64 (n,) each; which there are depends on the images' shape alone.

    Args:
        images: (n, channels, height, width) in [0, 1].
    """
    pixels = images.astype(np.float64)
    n, channels, height, width = pixels.shape
    grey = pixels.mean(axis=1)
    flat = grey.reshape(n, -1)
    bytes_ = np.rint(pixels * 255.0).astype(np.uint8)
    across, down = np.diff(grey, axis=2), np.diff(grey, axis=1)
    found = {f"brightness, {q:.0%} quantile": np.quantile(flat, q, axis=1) for q in QUANTILES} | {
        "brightness, mean": flat.mean(1),
        "brightness, deviation": flat.std(1),
        "black pixels": (flat <= 0.5 / 255.0).mean(1),
        "white pixels": (flat >= 1.0 - 0.5 / 255.0).mean(1),
        "distinct values": np.array([np.count_nonzero(np.bincount(image.ravel(), minlength=256)) for image in bytes_]),
        "total variation": np.abs(across).mean((1, 2)) + np.abs(down).mean((1, 2))
        if min(height, width) > 1
        else np.zeros(n),
        "Laplacian energy": _laplacian(grey),
        "compressed size": np.array([len(zlib.compress(image.tobytes(), 1)) for image in bytes_]),
    }
    for channel in range(channels if channels > 1 else 0):
        values = pixels[:, channel].reshape(n, -1)
        found |= {f"channel {channel + 1}, mean": values.mean(1), f"channel {channel + 1}, deviation": values.std(1)}
    if min(height, width) >= BLOCK:
        found |= _blocks(grey, across)
    return {name: np.asarray(column, dtype=np.float64) for name, column in found.items()}


def _laplacian(grey: Matrix) -> Matrix:
    if min(grey.shape[1:]) < 3:
        return np.zeros(len(grey))
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return np.asarray(np.square(around - 4.0 * middle).mean((1, 2)))


def _blocks(grey: Matrix, across: Matrix) -> dict[str, Matrix]:
    """Traces of block-wise compression, on the 8x8 grid of JPEG."""
    n, height, width = grey.shape
    steps = np.abs(across)
    border = np.arange(steps.shape[2]) % BLOCK == BLOCK - 1
    at_border = steps[:, :, border].mean((1, 2)) if border.any() else np.zeros(n)
    rows, columns = height // BLOCK, width // BLOCK
    cut = grey[:, : rows * BLOCK, : columns * BLOCK].reshape(n, rows, BLOCK, columns, BLOCK)
    frequencies = np.abs(fft.dctn(cut, axes=(2, 4), norm="ortho"))
    order = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
    high = (order >= BLOCK)[None, None, :, None, :]
    empty = (frequencies < 0.5 / 255.0).mean((1, 2, 3, 4))
    energy = (frequencies * high).sum((1, 2, 3, 4)) / (rows * columns)
    return {
        "steps at 8-pixel block borders": at_border - steps[:, :, ~border].mean((1, 2)),
        "empty 8x8 frequencies": empty,
        "high 8x8 frequencies": energy,
    }
