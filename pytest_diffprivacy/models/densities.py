"""Densities with an exact score at every noise level: a finite data set, a Gaussian mixture, and what lies between.

A leak dial has memorized its training images to a chosen degree; a peaked population, each of them up to a width.
"""

from __future__ import annotations

import math
from typing import Final, Protocol, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError

WIDTH: Final = 0.2
"""Of a peak, in standard deviations of the points' values."""


class Density(Protocol):
    """The law of x_t = alpha x0 + sigma eps for x0 from this density; points are float64 (n, d)."""

    @property
    def dimension(self) -> int:
        """d, the number of pixels."""

    def tensors(self) -> dict[str, Tensor]:
        """What defines the density, for digests."""

    def score(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Grad log p_t(x): (n, d)."""

    def hessian(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Hessian of log p_t(x): (n, d, d)."""


@final
class FiniteData:
    """N points with repetition counts: the density that a model with perfect memory represents.

    Args:
        points: (N, d) in model space.
        repetitions: (N,) positive; None: once each.

    Source: Implements METHODS 8.1: x0hat = sum_i w_i x_i, w = softmax(log count_i - ||x - alpha x_i||^2 / (2 sigma^2)).
    """

    def __init__(self, points: Tensor, repetitions: Tensor | None = None) -> None:
        if points.ndim != 2 or len(points) == 0:
            raise UsageError(f"`points` must be (n, d) with n >= 1, got {tuple(points.shape)}.")
        counts = torch.ones(len(points)) if repetitions is None else torch.as_tensor(repetitions)
        if counts.shape != (len(points),) or not bool((counts > 0).all()):
            raise UsageError(f"`repetitions` must be {len(points)} positive numbers, got shape {tuple(counts.shape)}.")
        self._points, self._log_counts = points.double(), counts.double().log()
        self.dimension = points.shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """The points and the logarithms of their counts."""
        return {"points": self._points, "log_counts": self._log_counts}

    def _weights(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        squared = _squared_distances(x, alpha * self._points)
        return (self._log_counts - squared / (2.0 * sigma**2)).softmax(1)

    def score(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """(alpha x0hat - x) / sigma^2."""
        return (alpha * self._weights(x, alpha, sigma) @ self._points - x) / sigma**2

    def hessian(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """-I / sigma^2 + (alpha^2 / sigma^4) Cov_w(x_i)."""
        weights = self._weights(x, alpha, sigma)
        mean = weights @ self._points
        second = torch.einsum("nk,ki,kj->nij", weights, self._points, self._points)
        covariance = second - mean[:, :, None] * mean[:, None, :]
        return alpha**2 / sigma**4 * covariance - torch.eye(self.dimension, dtype=torch.float64) / sigma**2


@final
class GaussianMixture:
    """The population sum_k weight_k N(mean_k, covariance_k).

    Args:
        means: (k, d) in model space.
        covariances: (k, d, d), positive semi-definite.
        weights: (k,) positive, normalized here; None: equal.

    Source: Implements METHODS 8.2: p_t = sum_k w_k N(alpha mu_k, C_k), C_k = alpha^2 S_k + sigma^2 I.
    """

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor | None = None) -> None:
        if means.ndim != 2 or covariances.shape != (len(means), means.shape[1], means.shape[1]):
            raise UsageError(
                f"`means` must be (k, d) and `covariances` (k, d, d), got {tuple(means.shape)} and "
                f"{tuple(covariances.shape)}."
            )
        weights = torch.ones(len(means)) if weights is None else torch.as_tensor(weights)
        if weights.shape != (len(means),) or not bool((weights > 0).all()):
            raise UsageError(f"`weights` must be {len(means)} positive numbers, got {weights.tolist()}.")
        self._means, self._covariances = means.double(), covariances.double()
        self.dimension = means.shape[1]
        self._log_weights = (weights.double() / weights.double().sum()).log()

    def tensors(self) -> dict[str, Tensor]:
        """Means, covariances and log weights."""
        return {"means": self._means, "covariances": self._covariances, "log_weights": self._log_weights}

    def _posterior(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior weights (n, k), component scores (n, k, d) and precisions (k, d, d)."""
        eye = torch.eye(self.dimension, dtype=torch.float64)
        cholesky = torch.linalg.cholesky(alpha**2 * self._covariances + sigma**2 * eye)
        precision = torch.cholesky_inverse(cholesky)
        difference = x[:, None, :] - alpha * self._means
        scores = -torch.einsum("kij,nkj->nki", precision, difference)
        log_determinant = 2.0 * cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
        log_density = 0.5 * (difference * scores).sum(2) - 0.5 * log_determinant + self._log_weights
        return log_density.softmax(1), scores, precision

    def score(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """sum_k r_k s_k with s_k = -C_k^-1 (x - alpha mu_k)."""
        weights, scores, _ = self._posterior(x, alpha, sigma)
        return torch.einsum("nk,nki->ni", weights, scores)

    def hessian(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """sum_k r_k (-C_k^-1 + s_k s_k^T) - s s^T."""
        weights, scores, precision = self._posterior(x, alpha, sigma)
        total = torch.einsum("nk,nki->ni", weights, scores)
        second = torch.einsum("nk,nki,nkj->nij", weights, scores, scores)
        curvature = torch.einsum("nk,kij->nij", weights, precision)
        return second - curvature - total[:, :, None] * total[:, None, :]


@final
class LeakDial:
    """A mixture of scores: `leak` of a density that knows the members, the rest of the population they came from.

    The ground truth of power: 0 leaks nothing, 1 everything, and between them AUROC of the loss, SecMI and SimA grows
    smoothly. At each noise level it is the density proportional to finite^leak * population^(1 - leak), so its Hessian
    is the same mixture; no law of x0 has these densities at all noise levels, which no attack needs.

    Args:
        members: what full memory represents, e.g. FiniteData.
        population: what no memory represents, e.g. GaussianMixture; same dimension.
        leak: between 0 and 1.

    Source: Implements METHODS 8.4: eps = leak * eps_finite + (1 - leak) * eps_population.
    """

    def __init__(self, members: Density, population: Density, leak: float) -> None:
        if members.dimension != population.dimension:
            raise UsageError(
                f"`population` must have the members' dimension {members.dimension}, got {population.dimension}."
            )
        if not 0.0 <= leak <= 1.0:
            raise UsageError(f"`leak` must be between 0 and 1, got {leak!r}.")
        self._members, self._population, self._leak = members, population, float(leak)
        self.dimension = members.dimension

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of both densities, and the leak."""
        parts = {"members": self._members, "population": self._population}
        tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.tensors().items()}
        return tensors | {"leak": torch.tensor(self._leak, dtype=torch.float64)}

    def score(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Leak * s_members + (1 - leak) * s_population."""
        return self._mixed(self._members.score(x, alpha, sigma), self._population.score(x, alpha, sigma))

    def hessian(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Leak * H_members + (1 - leak) * H_population."""
        return self._mixed(self._members.hessian(x, alpha, sigma), self._population.hessian(x, alpha, sigma))

    def _mixed(self, members: Tensor, population: Tensor) -> Tensor:
        return self._leak * members + (1.0 - self._leak) * population


@final
class PeakedPopulation:
    """Half the weight on one Gaussian of all values, half on a narrow peak at each point; a Density without Hessian.

    Beside its points the ideal denoiser of a finite set knows nothing else: it takes whatever it is shown for the
    nearest of them, and calls the rest noise, however little noise there can be. An attack may feed on that, which no
    network does. Here an image that was not planted belongs to the population.

    Args:
        points: (n, d) in model space, n >= 2, not all equal.
        width: standard deviation of a peak, in standard deviations of the points' values.

    Source: Implements METHODS 8.2 with isotropic covariances. Mean and variance are of all values together, so that the
    population knows nothing of the points but their scale.
    """

    def __init__(self, points: Tensor, width: float = WIDTH) -> None:
        if points.ndim != 2 or len(points) < 2 or not float(points.double().var()) > 0.0:
            raise UsageError(f"`points` must be (n, d), n >= 2 and not all equal, got {tuple(points.shape)}.")
        self._points = points.double()
        self._mean, self._variance = float(self._points.mean()), float(self._points.var())
        self._narrow = width**2 * self._variance

    def population_score(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Of the population without its peaks: (n, d)."""
        return -(x - alpha * self._mean) / (alpha**2 * self._variance + sigma**2)

    def score(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Grad log p_t(x): (n, d)."""
        broad, narrow = alpha**2 * self._variance + sigma**2, alpha**2 * self._narrow + sigma**2
        centres, dimension = alpha * self._points, self._points.shape[1]
        peaks = (
            -_squared_distances(x, centres) / (2.0 * narrow)
            - 0.5 * dimension * math.log(narrow)
            - math.log(len(self._points))
        )
        away = (x - alpha * self._mean).square().sum(1, keepdim=True)
        rest = -away / (2.0 * broad) - 0.5 * dimension * math.log(broad)
        weights = torch.cat([rest, peaks], 1).softmax(1)
        own, known = weights[:, 1:], weights[:, :1]
        return known * self.population_score(x, alpha, sigma) + (own @ centres - own.sum(1, keepdim=True) * x) / narrow


def _squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    return (x * x).sum(1, keepdim=True) - 2.0 * x @ centres.T + (centres * centres).sum(1)
