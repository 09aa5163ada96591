"""How far is a restored image from the original where it was hidden?"""

from __future__ import annotations

from torch import Tensor


def rms_hidden(restored: Tensor, originals: Tensor, hidden: Tensor) -> Tensor:
    """Root of the mean squared difference over hidden pixels and all channels, on [0, 1].

    Args:
        restored: (n, channels, height, width) in [0, 1].
        originals: the same shape.
        hidden: bool (n, 1, height, width).

    Returns:
        float64 (n,), a distance: lower = closer.

    Source: Implements METHODS 0.1 restricted to hidden pixels.
    """
    squared = (restored.double() - originals.double()).square().mean(1, keepdim=True) * hidden
    return (squared.flatten(1).sum(1) / hidden.flatten(1).sum(1)).sqrt()
