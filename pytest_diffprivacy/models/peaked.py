"""What does a model with a memory look like that is no ideal denoiser? A broad population with narrow peaks in it.

Beside its peaks the ideal denoiser of a finite set knows nothing else: it takes whatever it is shown for the nearest of
its images, and calls the rest noise, however little noise there can be. An attack may feed on that, which no network
does. Here an image that was not planted belongs to the population.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError

WIDTH = 0.2


@final
class PeakedPopulation:
    """Half the weight on one Gaussian of all values, half on a narrow peak at each point; a Density without Hessian.

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
        squared = (x * x).sum(1, keepdim=True) - 2.0 * x @ centres.T + (centres * centres).sum(1)
        peaks = -squared / (2.0 * narrow) - 0.5 * dimension * math.log(narrow) - math.log(len(self._points))
        away = (x - alpha * self._mean).square().sum(1, keepdim=True)
        rest = -away / (2.0 * broad) - 0.5 * dimension * math.log(broad)
        weights = torch.cat([rest, peaks], 1).softmax(1)
        own, known = weights[:, 1:], weights[:, :1]
        return known * self.population_score(x, alpha, sigma) + (own @ centres - own.sum(1, keepdim=True) * x) / narrow
