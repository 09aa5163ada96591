"""Statistics of an image without a model: brightness, texture, size, file and caption, as numbers."""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pytest_diffprivacy.probes.image_set import ImageSet

Matrix = NDArray[np.float64]

BLOCK = 8
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
CHUNK = 256
PLAIN: Final = (
    *(f"brightness, {q:.0%} quantile" for q in QUANTILES),
    "brightness, mean",
    "brightness, deviation",
    "black pixels",
    "white pixels",
    "distinct values",
    "total variation",
    "Laplacian energy",
    "compressed size",
)
BLOCKS: Final = ("steps at 8-pixel block borders", "empty 8x8 frequencies", "high 8x8 frequencies")


def statistics_of(images: ImageSet) -> tuple[tuple[str, ...], Matrix]:
    """Names and values of the statistics of every image, in the order of the set.

    Returns:
        Names (k,) and float64 (n, k). Which statistics there are depends on the images' shape, on whether they are
        files and on whether they have prompts, so that two sides of one probe set need not have the same.

    Source: Follows the list of METHODS 7.10.
    """
    names, parts = pixel_names(images.image_shape), []
    for _, batch in images.batches(CHUNK):
        parts.append(pixel_statistics(batch))
    columns = [np.concatenate(parts)]
    facts = images.file_facts()
    if facts is not None:
        names, columns = (*names, *facts[0]), [*columns, facts[1]]
    prompts = images.prompts(range(len(images)))
    if prompts is not None and all(isinstance(prompt, str) for prompt in prompts):
        names = (*names, "caption, characters", "caption, words")
        columns.append(np.array([[len(str(p)), len(str(p).split())] for p in prompts], dtype=np.float64))
    elif prompts is not None:
        names = (*names, "class index")
        columns.append(np.array([[float(p)] for p in prompts], dtype=np.float64))
    return names, np.concatenate(columns, axis=1)


def pixel_names(shape: tuple[int, int, int]) -> tuple[str, ...]:
    """What the columns of `pixel_statistics` are called for images of this shape."""
    channels, height, width = shape
    colours = [f"channel {c + 1}, {what}" for c in range(channels) for what in ("mean", "deviation")]
    return (*PLAIN, *(colours if channels > 1 else ()), *(BLOCKS if min(height, width) >= BLOCK else ()))


def pixel_statistics(images: NDArray[np.float32]) -> Matrix:
    """Statistics of pixels: float64 (n, len(pixel_names(shape))).

    Args:
        images: (n, channels, height, width) in [0, 1].
    """
    pixels = images.astype(np.float64)
    n, channels, height, width = pixels.shape
    grey = pixels.mean(axis=1)
    flat = grey.reshape(n, -1)
    bytes_ = np.rint(pixels * 255.0).astype(np.uint8)
    across, down = np.diff(grey, axis=2), np.diff(grey, axis=1)
    columns = [
        *np.quantile(flat, QUANTILES, axis=1),
        flat.mean(1),
        flat.std(1),
        (flat <= 0.5 / 255.0).mean(1),
        (flat >= 1.0 - 0.5 / 255.0).mean(1),
        np.array([len(np.unique(image)) for image in bytes_.reshape(n, -1)]),
        np.abs(across).mean((1, 2)) + np.abs(down).mean((1, 2)) if min(height, width) > 1 else np.zeros(n),
        _laplacian(grey),
        np.array([len(zlib.compress(image.tobytes(), 6)) for image in bytes_]),
    ]
    if channels > 1:
        for channel in range(channels):
            values = pixels[:, channel].reshape(n, -1)
            columns += [values.mean(1), values.std(1)]
    if min(height, width) >= BLOCK:
        columns += _blocks(grey, across)
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _laplacian(grey: Matrix) -> Matrix:
    if min(grey.shape[1:]) < 3:
        return np.zeros(len(grey))
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return np.asarray(np.square(around - 4.0 * middle).mean((1, 2)))


def _blocks(grey: Matrix, across: Matrix) -> list[Matrix]:
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
    return [at_border - steps[:, :, ~border].mean((1, 2)), empty, energy]
