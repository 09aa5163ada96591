"""Krylov methods for the extreme curvatures of a large Hessian: Lanczos on its symmetric part, Arnoldi as it is."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.sharpness.hessian import LinearMap, symmetric_times

TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class LanczosValues:
    """Ritz values of the symmetric part of a matrix, each with a bound of its error.

    Attributes:
        values: float64 (steps,), ascending.
        bounds: float64 (steps,): an eigenvalue lies within this distance of the Ritz value.
        weights: float64 (steps,), squared first components of the Ritz vectors; they sum to 1 and are the start
            vector's spectral measure (for quadrature).
        breakdown: whether the Krylov space closed before `steps` were done; its Ritz values are then eigenvalues.
    """

    values: NDArray[np.float64]
    bounds: NDArray[np.float64]
    weights: NDArray[np.float64]
    breakdown: bool

    @property
    def steps(self) -> int:
        """Products that were made, each with the matrix and with its transpose."""
        return len(self.values)


def lanczos(matrix: LinearMap, *, steps: int, seed: int, tolerance: float = TOLERANCE) -> LanczosValues:
    """Ritz values of (A + A^T) / 2 from a random start vector, with full reorthogonalization in float64.

    Args:
        matrix: a ScoreHessian, or any other LinearMap; forward and transposed products are used.
        steps: dimension of the Krylov space, at most the matrix's.
        seed: of the start vector.
        tolerance: a new direction shorter than this times the largest product so far closes the space.

    Raises:
        UsageError: steps outside 1..dimension.
        AuditError: the model's derivative is not finite.

    Source: Implements Lanczos 1950 with the residual bound of Paige 1971 (METHODS 4.3).
    """
    return lanczos_from(matrix, unit_vector(matrix.dimension, seed), steps=steps, tolerance=tolerance)


def lanczos_from(
    matrix: LinearMap, start: NDArray[np.float64], *, steps: int, tolerance: float = TOLERANCE
) -> LanczosValues:
    """`lanczos` from a given unit vector (d,)."""
    steps = check_steps(steps, matrix.dimension)
    basis = np.zeros((steps, matrix.dimension))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    basis[0] = start
    scale, size = 0.0, steps
    for j in range(steps):
        vector = symmetric_times(matrix, basis[j : j + 1])[0]
        scale = max(scale, float(np.linalg.norm(vector)))
        diagonal[j] = basis[j] @ vector
        for _ in range(2):
            vector = vector - basis[: j + 1].T @ (basis[: j + 1] @ vector)
        beside[j] = np.linalg.norm(vector)
        if beside[j] <= tolerance * scale:
            size = j + 1
            break
        if j + 1 < steps:
            basis[j + 1] = vector / beside[j]
    values, vectors = eigh_tridiagonal(diagonal[:size], beside[: size - 1])
    return LanczosValues(values, np.abs(beside[size - 1] * vectors[-1]), vectors[0] ** 2, size < steps)


def unit_vector(dimension: int, seed: int) -> NDArray[np.float64]:
    """A direction drawn uniformly: float64 (dimension,)."""
    vector = np.random.default_rng(seed).standard_normal(dimension)
    return vector / np.linalg.norm(vector)


def check_steps(steps: int, dimension: int) -> int:
    """Steps of a Krylov method.

    Raises:
        UsageError: no whole number, or not between 1 and the dimension.
    """
    if not isinstance(steps, Integral) or not 1 <= steps <= dimension:
        raise UsageError(f"`steps` must be between 1 and the dimension {dimension}, got {steps!r}.")
    return int(steps)


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
