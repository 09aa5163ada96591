"""Trace of a Hessian, and number of its eigenvalues that are not negative: estimates from random probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.sharpness.hessian import LinearMap
from pytest_diffprivacy.sharpness.krylov import check_steps, lanczos_from
from pytest_diffprivacy.statistics.arguments import check_count, check_significance

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
