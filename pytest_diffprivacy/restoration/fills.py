"""What can be put in a hidden place without any model? The mean of the rest, or the smoothest surface through it."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from pytest_diffprivacy.restoration.degrade import Degraded

Fill = Literal["mean", "harmonic", "biharmonic"]
FILLS: Final[tuple[str, ...]] = get_args(Fill)


def fill_in(degraded: Degraded, fill: Fill) -> Tensor:
    """Degraded images with their hidden pixels filled model-free.

    Returns:
        float64 (b, channels, height, width) in [0, 1].

    Source: "harmonic" implements the discrete Laplace equation with the known pixels as boundary values and no flow
    through the image's edge; "biharmonic" minimizes the sum of squares of the same Laplacian.
    """
    if fill == "mean" or degraded.known is None:
        return degraded.visible.clamp(0.0, 1.0)
    filled = degraded.visible.clone()
    solved: dict[bytes, Any] = {}
    for image, known in zip(filled, degraded.known[:, 0].numpy() > 0, strict=True):
        key = known.tobytes()
        if key not in solved:
            operator = _laplacian(*known.shape)
            operator = operator @ operator if fill == "biharmonic" else operator
            inside, outside = np.flatnonzero(~known), np.flatnonzero(known)
            rows = operator.tocsr()[inside]
            solved[key] = (splu(rows[:, inside].tocsc()), rows[:, outside], inside, outside)
        factor, coupling, inside, outside = solved[key]
        flat = image.flatten(1)
        values = factor.solve(-(coupling @ flat[:, outside].numpy().T))
        flat[:, inside] = torch.from_numpy(values.T.copy())
        image.copy_(flat.reshape(image.shape))
    return filled.clamp(0.0, 1.0)


def _laplacian(height: int, width: int) -> Any:
    """The graph Laplacian (degree minus adjacency) of a grid of pixels: sparse (hw, hw), positive semi-definite."""

    def path(n: int) -> Any:
        degree = np.full(n, 2.0)
        degree[0] -= 1.0
        degree[-1] -= 1.0
        off = -np.ones(n - 1)
        return sparse.diags([off, degree, off], [-1, 0, 1])

    return sparse.kron(path(height), sparse.eye(width)) + sparse.kron(sparse.eye(height), path(width))
