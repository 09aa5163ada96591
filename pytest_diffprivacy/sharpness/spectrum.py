"""Spectrum of a small Hessian, exact: the curvatures of the log density at a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.sharpness.hessian import LinearMap

LARGEST_EXACT = 4096


@dataclass(frozen=True, slots=True)
class Spectrum:
    """All eigenvalues of the symmetric part of a Hessian.

    Attributes:
        eigenvalues: float64 (d,), ascending: the sharpest direction first.
        asymmetry: `|| H - H^T ||_F / || H ||_F`; 0 for an exact score. What a network's Hessian has of it bounds how
            much the eigenvalues say.
    """

    eigenvalues: NDArray[np.float64]
    asymmetry: float

    @property
    def trace(self) -> float:
        """Tr H."""
        return float(self.eigenvalues.sum())

    @property
    def nonnegative(self) -> int:
        """How many eigenvalues are >= 0: directions in which the log density does not fall off."""
        return int((self.eigenvalues >= 0.0).sum())


def full_matrix(matrix: LinearMap) -> NDArray[np.float64]:
    """The matrix itself, (d, d), from d products with unit vectors.

    Raises:
        UsageError: d is above 4,096.
    """
    if matrix.dimension > LARGEST_EXACT:
        raise UsageError(
            f"The matrix must have dimension at most {LARGEST_EXACT} to be written out, got {matrix.dimension}. "
            "Use arnoldi or lanczos."
        )
    return np.ascontiguousarray(matrix.times(np.eye(matrix.dimension)).T)


def full_spectrum(matrix: LinearMap) -> Spectrum:
    """The exact spectrum of a Hessian of dimension up to 4,096, by as many forward-mode products.

    Memorized samples have larger negative eigenvalues and fewer non-negative ones.

    Args:
        matrix: a ScoreHessian, or any other LinearMap.

    Raises:
        UsageError: the dimension is above 4,096.
        AuditError: the model's derivative is not finite.

    Source: Implements the spectra of Jeon et al. 2025, section 3, with the symmetric part as in METHODS 4.3.
    """
    hessian = full_matrix(matrix)
    norm = float(np.linalg.norm(hessian))
    asymmetry = float(np.linalg.norm(hessian - hessian.T)) / norm if norm > 0.0 else 0.0
    eigenvalues: NDArray[np.float64] = np.linalg.eigvalsh(0.5 * (hessian + hessian.T)).astype(np.float64)
    return Spectrum(eigenvalues, asymmetry)
