"""Krylov methods for the extreme curvatures of a large Hessian, and its trace and signs from random probes."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.linalg import eigh_tridiagonal

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.sharpness.hessian import LinearMap, symmetric_times
from pytest_diffprivacy.statistics.arguments import check_count, check_significance

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
    """Steps of a Krylov method; refuses what is no whole number between 1 and the dimension."""
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


Probe = Literal["rademacher", "gaussian"]


@dataclass(frozen=True, slots=True)
class ProbedEstimate:
    """A mean over random probes with one-sided Student bounds.

    Attributes:
        value: the estimate.
        standard_error: of the mean over probes; 0 where every probe agrees, as Rademacher probes do on a diagonal.
        low: lower bound.
        high: upper bound.
        confidence: of each bound.
        probes: random vectors.
    """

    value: float
    standard_error: float
    low: float
    high: float
    confidence: float
    probes: int


def hutchinson_trace(
    matrix: LinearMap,
    *,
    probes: int,
    seed: int,
    kind: Probe = "rademacher",
    power: int = 1,
    confidence: float = 0.95,
) -> ProbedEstimate:
    """Tr A^power as the mean of z^T A^power z over random z, by `power` forward products a probe.

    For the trace itself the variance of one probe is `2 sum_{i != j} S_ij^2` with Rademacher signs and `2 ||S||_F^2`
    with Gaussian vectors (S the symmetric part), so signs are never worse.

    Args:
        matrix: a ScoreHessian, or any other LinearMap.
        probes: random vectors, at least 2.
        seed: of the vectors.
        kind: "rademacher" or "gaussian".
        power: 1 for tr H, 3 for tr H^3.
        confidence: of each one-sided bound.

    Raises:
        UsageError: fewer than 2 probes, or another kind or power.
        AuditError: the model's derivative is not finite.

    Source: Implements Hutchinson 1989 (METHODS 4.3).
    """
    check_count("power", power, least=1)
    check_significance(confidence)
    vectors = probe_vectors(probes, matrix.dimension, seed, kind)
    products = vectors
    for _ in range(power):
        products = matrix.times(products)
    return mean_over_probes((vectors * products).sum(1), confidence)


def nonnegative_eigenvalues(
    matrix: LinearMap, *, probes: int, steps: int, seed: int, confidence: float = 0.95
) -> ProbedEstimate:
    """How many eigenvalues of the symmetric part are >= 0, for matrices too large to write out.

    `d * mean_j sum_k tau_jk^2 1[theta_jk >= 0]` over Lanczos runs from random unit vectors. The bounds cover the
    probes' spread, not the smoothing of an eigenvalue near 0, which more steps make sharper.

    Args:
        matrix: a ScoreHessian, or any other LinearMap.
        probes: Lanczos runs, at least 2.
        steps: steps of each run, at most the dimension.
        seed: of the start vectors.
        confidence: of each one-sided bound.

    Raises:
        UsageError: fewer than 2 probes, or steps outside 1..dimension.
        AuditError: the model's derivative is not finite.

    Source: Implements stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017) for a step function (METHODS 4.3).
    """
    steps = check_steps(steps, matrix.dimension)
    check_significance(confidence)
    counts = []
    for vector in probe_vectors(probes, matrix.dimension, seed, "gaussian"):
        run = lanczos_from(matrix, vector / np.linalg.norm(vector), steps=steps)
        counts.append(matrix.dimension * float(run.weights[run.values >= 0.0].sum()))
    return mean_over_probes(np.asarray(counts), confidence)


def probe_vectors(probes: int, dimension: int, seed: int, kind: Probe) -> NDArray[np.float64]:
    """Random vectors with identity covariance: float64 (probes, dimension).

    Raises:
        UsageError: fewer than 2, or another kind.
    """
    check_count("probes", probes, least=2)  # one has no standard error
    gaussian = np.random.default_rng(seed).standard_normal((probes, dimension))
    if kind == "rademacher":
        return np.where(gaussian < 0.0, -1.0, 1.0)
    if kind != "gaussian":
        raise UsageError(f"`kind` must be 'rademacher' or 'gaussian', got {kind!r}.")
    return gaussian


def mean_over_probes(values: NDArray[np.float64], confidence: float) -> ProbedEstimate:
    """Mean, standard error and one-sided Student bounds of independent values (probes,)."""
    count, mean = len(values), float(values.mean())
    error = float(values.std(ddof=1)) / count**0.5
    reach = float(special.stdtrit(count - 1, confidence)) * error
    return ProbedEstimate(mean, error, mean - reach, mean + reach, confidence, count)
