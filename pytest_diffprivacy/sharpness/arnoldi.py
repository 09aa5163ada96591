"""Which extreme curvatures does a large Hessian have? Arnoldi's iteration, which takes it as it is: not symmetric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.sharpness.hessian import LinearMap
from pytest_diffprivacy.sharpness.lanczos import TOLERANCE, check_steps, unit_vector


@dataclass(frozen=True, slots=True)
class ArnoldiValues:
    """Ritz values of a matrix that need not be symmetric, extreme ones first to converge.

    Attributes:
        values: complex128 (steps,), ascending real part.
        residuals: float64 (steps,), `|| A q - theta q ||` of each Ritz pair (unit q).
        breakdown: whether the Krylov space closed before `steps` were done; its Ritz values are then eigenvalues.
    """

    values: NDArray[np.complex128]
    residuals: NDArray[np.float64]
    breakdown: bool

    @property
    def steps(self) -> int:
        """Products that were made."""
        return len(self.values)


def arnoldi(matrix: LinearMap, *, steps: int, seed: int, tolerance: float = TOLERANCE) -> ArnoldiValues:
    """Ritz values from the Krylov space of a random start vector, by modified Gram-Schmidt (twice) in float64.

    Args:
        matrix: a ScoreHessian, or any other LinearMap; only forward products are used.
        steps: dimension of the Krylov space, at most the matrix's.
        seed: of the start vector.
        tolerance: a new direction shorter than this times the largest product so far closes the space.

    Raises:
        UsageError: steps outside 1..dimension.
        AuditError: the model's derivative is not finite.

    Source: Implements Arnoldi 1951 as used by Jeon et al. 2025, section 3 (METHODS 4.3).
    """
    steps = check_steps(steps, matrix.dimension)
    basis = np.zeros((steps + 1, matrix.dimension))
    hessenberg = np.zeros((steps + 1, steps))
    basis[0] = unit_vector(matrix.dimension, seed)
    scale, size = 0.0, steps
    for j in range(steps):
        vector = matrix.times(basis[j : j + 1])[0]
        scale = max(scale, float(np.linalg.norm(vector)))
        for _ in range(2):
            for i in range(j + 1):
                share = basis[i] @ vector
                hessenberg[i, j] += share
                vector = vector - share * basis[i]
        length = float(np.linalg.norm(vector))
        hessenberg[j + 1, j] = length
        if length <= tolerance * scale:
            size = j + 1
            break
        basis[j + 1] = vector / length
    values, vectors = np.linalg.eig(hessenberg[:size, :size])
    residuals = np.abs(hessenberg[size, size - 1] * vectors[-1])
    order = np.argsort(values.real, kind="stable")
    return ArnoldiValues(values[order].astype(np.complex128), residuals[order], size < steps)
