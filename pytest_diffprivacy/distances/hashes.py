"""Which images may be copies of each other at all? A perceptual hash sorts out most pairs before they are compared.

A pre-filter only: an image whose colours are inverted, or that is mirrored or cut, has another hash.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn

HASH_SIDE = 32
LOW = 8
BITS = LOW * LOW - 1


def perceptual_hashes(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The signs of each image's lowest frequencies about their median: float32 (n, 63) of -1 and 1.

    The squared Euclidean distance of two hashes is four times the number of bits in which they differ. A flat image has
    a hash of -1 throughout.

    Args:
        images: (n, channels, height, width) in [0, 1].

    Source: Implements the perceptual hash of Zauner 2010 (DCT of the grey image at 32x32, 8x8 lowest frequencies),
    without the constant term.
    """
    grey = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).mean(1, keepdim=True)
    small = torch.nn.functional.interpolate(grey, (HASH_SIDE, HASH_SIDE), mode="bilinear", antialias=True)
    frequencies = dctn(small[:, 0].double().numpy(), axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(images), -1)
    low = np.round(frequencies[:, 1:], 6)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.where(bits, np.float32(1.0), np.float32(-1.0))
