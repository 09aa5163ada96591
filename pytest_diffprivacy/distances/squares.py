"""Squared Euclidean distances of images without an error: whole numbers of bytes, float64 sums of other pixels."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.distances.bounds import Pixels
from pytest_diffprivacy.slices import in_batches

GREY: Final = 128
STRIP = 16384
"""Values multiplied at once: their products add up to less than 2^31, and both operands stay in the cache."""
WHOLE = 1024
"""Products of two bytes about mid-grey that add up in float32 without rounding."""
PRODUCT_VALUES = 4096
ROUNDING = 2.0**-24
EXACT_BYTES = 2**20
Float64 = NDArray[np.float64]


def bytes_of(images: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Images in [0, 1] as the bytes that they are multiples of 1/255 of; None where some value is none."""
    result = np.empty(images.shape, dtype=np.uint8)
    for image, levels in zip(images, result, strict=True):
        np.rint(image * np.float32(255.0), out=levels, casting="unsafe")
        if not np.array_equal(floats_of(levels), image):
            return None
    return result


def floats_of(images: Pixels) -> NDArray[np.float32]:
    """Images as float32 in [0, 1]."""
    if images.dtype != np.uint8:
        return np.asarray(images, dtype=np.float32)
    result = images.astype(np.float32)
    result /= np.float32(255.0)
    return result


def square_norms(rows: NDArray[np.uint8]) -> Float64:
    """The squared lengths of bytes (n, values) about mid-grey, without an error."""
    norms = np.zeros(len(rows))
    for part in in_batches(rows.shape[1], WHOLE):
        levels = rows[:, part].astype(np.float32)
        levels -= np.float32(GREY)
        norms += np.einsum("ij,ij->i", levels, levels)
    return norms


def byte_products(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Float64:
    """Dot products of bytes about mid-grey, float64 (len(a), len(b)), without an error.

    By integer products where torch has them for this processor, else by float32 ones so short that they are exact.
    """
    result = np.zeros((len(a), len(b)))
    strip = STRIP if _has_integer_products() else WHOLE
    for part in in_batches(a.shape[1], strip):
        one, other = (np.bitwise_xor(x[:, part], np.uint8(GREY)).view(np.int8) for x in (a, b))
        if strip == STRIP:
            result += torch._int_mm(torch.from_numpy(one), torch.from_numpy(other).T).numpy()
        else:
            result += one.astype(np.float32) @ other.astype(np.float32).T
    return result


_integer_products: list[bool] = []


def _has_integer_products() -> bool:
    if not _integer_products:
        try:
            a = torch.full((3, 40), -128, dtype=torch.int8)
            _integer_products.append(bool((torch._int_mm(a, a[:2].T) == 40 * 128**2).all()))
        except (RuntimeError, AttributeError, NotImplementedError):
            _integer_products.append(False)
    return _integer_products[0]


def byte_squares(a: NDArray[np.uint8], b: NDArray[np.uint8], norms: Float64) -> Float64:
    """Squared distances of bytes, (len(a), len(b)); `norms`: the squared lengths of a."""
    squared: Float64 = norms[:, None] + square_norms(b) - 2.0 * byte_products(a, b)
    return squared


def about_squares(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[Float64, Float64]:
    """Squared distances of float32 rows by products, and how far these may be from the truth: (len(a), len(b)) each."""
    products = np.zeros((len(a), len(b)))
    norms = [np.zeros(len(x)) for x in (a, b)]
    for part in in_batches(a.shape[1], PRODUCT_VALUES):
        one, other = (x[:, part] - np.float32(0.5) for x in (a, b))
        products += one @ other.T
        for total, rows in zip(norms, (one, other), strict=True):
            total += np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    sums = np.add.outer(*norms)
    return sums - 2.0 * products, 1.01 * (min(a.shape[1], PRODUCT_VALUES) + 16) * ROUNDING * sums


def pair_squares(
    a: NDArray[np.float32], rows: NDArray[np.int64], b: NDArray[np.float32], columns: NDArray[np.int64]
) -> Float64:
    """Sums of squared differences in float64 of pairs (a[rows[i]], b[columns[i]]) of flat float32 images."""
    pairs, values = max(1, EXACT_BYTES // (8 * a.shape[1])), a.shape[1]
    result = np.empty(len(rows))
    held = np.empty((pairs, values))
    left, right = torch.empty((2, pairs, values))
    sources, targets, doubled = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(held)
    one, other = torch.from_numpy(rows), torch.from_numpy(columns)
    for some in in_batches(len(rows), pairs):  # in memory that is held already: fresh pages cost more than the sums
        size = some.stop - some.start
        torch.index_select(sources, 0, one[some], out=left[:size])
        torch.index_select(targets, 0, other[some], out=right[:size])
        doubled[:size].copy_(right[:size].sub_(left[:size]))
        difference = held[:size]
        np.matmul(difference[:, None], difference[:, :, None], out=result[some].reshape(-1, 1, 1))
    return result
