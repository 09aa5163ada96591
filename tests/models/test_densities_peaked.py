import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.densities import WIDTH, GaussianMixture, PeakedPopulation

POINTS = torch.from_numpy(np.random.default_rng(72).normal(0.2, 0.5, (5, 3)))


@pytest.mark.parametrize(("alpha", "sigma"), [(0.99, 0.05), (0.7, 0.7), (0.1, 0.99)])
def test_its_score_is_that_of_the_mixture_with_full_covariances(alpha, sigma):
    variance, eye = float(POINTS.var()), torch.eye(3, dtype=torch.float64)
    mixture = GaussianMixture(
        torch.cat([torch.full((1, 3), float(POINTS.mean()), dtype=torch.float64), POINTS]),
        torch.stack([variance * eye, *[WIDTH**2 * variance * eye] * 5]),
        torch.tensor([5.0, *[1.0] * 5]),
    )
    x = torch.from_numpy(np.random.default_rng(73).normal(0.0, 0.6, (20, 3)))
    torch.testing.assert_close(PeakedPopulation(POINTS).score(x, alpha, sigma), mixture.score(x, alpha, sigma))


def test_far_from_every_peak_only_the_population_is_left():
    found, x = PeakedPopulation(POINTS), torch.full((1, 3), 40.0, dtype=torch.float64)
    torch.testing.assert_close(found.score(x, 1.0, 0.1), found.population_score(x, 1.0, 0.1))


def test_points_without_any_spread_are_refused():
    with pytest.raises(UsageError, match="n >= 2 and not all equal"):
        PeakedPopulation(torch.ones(4, 3))
