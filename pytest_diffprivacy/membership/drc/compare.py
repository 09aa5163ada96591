"""Comparison of a restored image with the original: RMS where it was hidden, SSIM, or cosine of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import torch
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.restoration.degrade import rms_hidden

Embedding: TypeAlias = Callable[[Tensor], Tensor]
Comparison: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
SSIM_WINDOW = 7


def ssim(a: Tensor, b: Tensor, *, window: int | None = None) -> Tensor:
    """Structural similarity of images in [0, 1], averaged over channels and over all places the window fits in.

    Uniform window, sample covariance, K1 = 0.01, K2 = 0.03, data range 1: scikit-image's defaults.

    Args:
        a: (n, channels, height, width) in [0, 1].
        b: the same shape.
        window: odd side in pixels; None: 7, or the largest odd number that fits into a smaller image.

    Returns:
        float64 (n,), 1 for equal images: higher = closer.

    Raises:
        UsageError: shapes differ, or the window is even, below 3 or larger than the image.

    Source: Implements Wang et al. 2004 (SSIM), Eq. 13, with a uniform window instead of a Gaussian one.
    """
    if a.ndim != 4 or a.shape != b.shape:
        raise UsageError(f"`a` and `b` must be (n, c, h, w) of one shape, got {tuple(a.shape)} and {tuple(b.shape)}.")
    smaller = min(a.shape[2:])
    side = min(SSIM_WINDOW, smaller - (smaller + 1) % 2) if window is None else window
    if side < 3 or side % 2 == 0 or side > smaller:
        raise UsageError(
            f"`window` must be odd, at least 3 and at most the image's shorter side {smaller}, got {side}. "
            "Compare smaller images by rms_hidden."
        )
    a, b = a.double(), b.double()

    def mean(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, side, stride=1)

    mean_a, mean_b, sample = mean(a), mean(b), side**2 / (side**2 - 1.0)
    var_a, var_b = sample * (mean(a * a) - mean_a**2), sample * (mean(b * b) - mean_b**2)
    covariance = sample * (mean(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    similarity: Tensor = (2.0 * mean_a * mean_b + c1) * (2.0 * covariance + c2)
    similarity = similarity / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))
    return torch.mean(similarity.flatten(1), dim=1)


def cosine(embed: Embedding, a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the embeddings of two sets of images.

    Args:
        embed: (images (n, channels, height, width) in [0, 1], float64) -> (n, dimensions).
        a: images.
        b: the same shape.

    Returns:
        float64 (n,) in [-1, 1]: higher = closer.

    Raises:
        UsageError: an embedding is not (n, dimensions).
        AuditError: an embedding is zero or not finite.

    Source: Follows METHODS 3.11; which encoder the DRC paper used is not settled, so there is no default.
    """
    rows: list[Tensor] = []
    for images in (a, b):
        vectors = torch.as_tensor(embed(images.double())).detach().cpu().double()
        if vectors.ndim != 2 or len(vectors) != len(images):
            raise UsageError(
                f"`comparison` must give embeddings ({len(images)}, dimensions), got {tuple(vectors.shape)}. "
                "Flatten them to one row an image."
            )
        length = vectors.norm(dim=1, keepdim=True)
        if not bool(((length > 0) & length.isfinite()).all()):
            raise AuditError("The embedding of an image is zero or not finite. Check the encoder and its input range.")
        rows.append(vectors / length)
    return (rows[0] * rows[1]).sum(1)


_COMPARISONS: Final[dict[str, Comparison]] = {
    "rms_hidden": lambda restored, originals, hidden: -rms_hidden(restored, originals, hidden),
    "ssim": lambda restored, originals, hidden: ssim(restored, originals),
}


def find_comparison(comparison: str | Embedding) -> Comparison:
    """(restored, originals, hidden) -> score (n,), higher = closer, for a name or an embedding.

    Raises:
        UsageError: an unknown name.

    Source: ours.
    """
    if callable(comparison):
        return lambda restored, originals, hidden: cosine(comparison, restored, originals)
    try:
        return _COMPARISONS[comparison]
    except (KeyError, TypeError):
        raise UsageError(
            f"`comparison` must be one of {', '.join(_COMPARISONS)} or an embedding function, got {comparison!r}."
        ) from None
