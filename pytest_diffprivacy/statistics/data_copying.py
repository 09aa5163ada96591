"""Data copying: whether generations are nearer to training images than unseen ones are. Meehan's C_T, cell by cell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy import special

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction, check_scores, check_significance
from pytest_diffprivacy.statistics.verdict import Bounded


@dataclass(frozen=True, slots=True)
class DataCopying(Bounded):
    """Meehan's statistic over cells, turned round so that more copying is larger.

    Attributes:
        value: minus C_T; **higher = more copying**, 3 is the usual mark; far below 0 means underfitting.
        p_value: one-sided, of "generations are no nearer to training images than unseen images are".
        z: the Z of every used cell.
        weights: their normalized weights, the shares of the test images.
        skipped: cells left out: too few generations, or no test image.
    """

    p_value: float
    z: tuple[float, ...]
    weights: tuple[float, ...]
    skipped: int

    @property
    def c_t(self) -> float:
        """C_T as it is published: far below 0 means copying."""
        return -self.value


def data_copying(
    generated_distances: ArrayLike,
    generated_cells: ArrayLike,
    test_distances: ArrayLike,
    test_cells: ArrayLike,
    *,
    cells: int,
    min_share: float,
    confidence: float = 0.95,
) -> DataCopying:
    """Compare distances to the nearest training image of the own cell, generations against unseen test images.

    In each cell U counts the pairs whose generation is farther away than the test image, ties one half, and
    `Z = (U - mn/2) / sqrt(mn(m + n + 1)/12)`.

    Args:
        generated_distances: (m,) of each generation to the nearest training image in its cell; lower = closer.
        generated_cells: (m,) cell of each generation, 0..cells-1.
        test_distances: (n,) the same for unseen images.
        test_cells: (n,) their cells.
        cells: number of cells.
        min_share: tau; a cell counts only if its share of the generations is larger.
        confidence: of each bound, in (0.5, 1).

    Raises:
        UsageError: arguments that do not fit each other.
        InsufficientProbes: no cell has both enough generations and a test image.

    Source: Implements Meehan et al. 2020, section 3 (minus C_T), without the public code's continuity term; the p-value
        is that of METHODS 6.3.
    """
    significance = check_significance(confidence)
    count = check_count("cells", cells, least=1)
    tau = check_fraction("min_share", min_share, zero=True)
    generated = check_scores("generated_distances", generated_distances)
    test = check_scores("test_distances", test_distances)
    own = _cells("generated_cells", generated_cells, count, len(generated))
    other = _cells("test_cells", test_cells, count, len(test))
    z, shares = [], []
    for cell in range(count):
        near, far = generated[own == cell], test[other == cell]
        if len(near) / len(generated) > tau and len(far):
            z.append(_z(near, far))
            shares.append(len(far) / len(test))
    if not z:
        raise InsufficientProbes(
            f"No cell of {count} has a test image and a share above {tau:g} of the generations. Use fewer cells or "
            "generate more.",
            needed=2 * len(generated),
        )
    weights = np.array(shares) / sum(shares)
    c_t, deviation = float(weights @ np.array(z)), float(np.sqrt((weights**2).sum()))
    reach = -float(special.ndtri(significance)) * deviation
    return DataCopying(
        value=-c_t,
        low=-c_t - reach,
        high=-c_t + reach,
        confidence=float(confidence),
        p_value=float(special.ndtr(c_t / deviation)),
        z=tuple(z),
        weights=tuple(weights.tolist()),
        skipped=count - len(z),
    )


def _z(generated: np.ndarray, test: np.ndarray) -> float:
    m, n = len(generated), len(test)
    ranks = scipy.stats.rankdata(np.concatenate([generated, test]))
    u = float(ranks[:m].sum()) - m * (m + 1) / 2.0
    return (u - m * n / 2.0) / math.sqrt(m * n * (m + n + 1) / 12.0)


def _cells(name: str, values: ArrayLike, cells: int, count: int) -> np.ndarray:
    found = np.asarray(values)
    if found.dtype.kind not in "iu" or found.shape != (count,):
        raise UsageError(f"`{name}` must be {count} whole numbers, got {found.dtype} {found.shape}.")
    if found.min() < 0 or found.max() >= cells:
        raise UsageError(f"`{name}` must be between 0 and {cells - 1}, got {found.min()} to {found.max()}.")
    return found
