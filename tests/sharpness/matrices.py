"""Matrices and points with known answers for spectra, traces and dimensions."""

import json
from pathlib import Path

import numpy as np
import torch

from pytest_diffprivacy.models import AnalyticDenoiser, NoiseSchedule
from pytest_diffprivacy.models.densities import GaussianMixture

ANALYTIC = json.loads((Path(__file__).parents[1] / "golden" / "text_to_image" / "analytic.json").read_text())


class Matrix:
    """A matrix written out, as a LinearMap that counts its products."""

    def __init__(self, entries):
        self.entries = np.asarray(entries, dtype=np.float64)
        self.products = 0

    @property
    def dimension(self):
        return len(self.entries)

    def times(self, rows):
        self.products += len(rows)
        return rows @ self.entries.T

    def transpose_times(self, rows):
        return rows @ self.entries


def random_matrix(dimension, seed, *, symmetric=False):
    entries = np.random.default_rng(seed).normal(size=(dimension, dimension))
    return (entries + entries.T) / 2 if symmetric else entries


def with_eigenvalues(values, seed):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    return rotation @ np.diag(values) @ rotation.T


def gaussian_at(mean, covariance, *, sigma=0.01):
    """A model whose density at timestep 0 is N(mean, covariance): alpha = 1, and the noise is taken off beforehand."""
    covariance = np.asarray(covariance, dtype=np.float64)
    schedule = NoiseSchedule(np.array([1.0, 1.0]), np.array([sigma, 1.0]))
    clean = covariance - sigma**2 * np.eye(len(covariance))
    density = GaussianMixture(torch.tensor([mean], dtype=torch.float64), torch.from_numpy(clean)[None])
    return AnalyticDenoiser(density, (1, 1, len(covariance)), schedule=schedule)


def gauss_hermite(mean, covariance, order=12):
    """Points (n, 1, 1, d) and weights (n,) that integrate polynomials exactly under N(mean, covariance)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    dimension = len(mean)
    grid = np.stack(np.meshgrid(*[nodes] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    mass = np.prod(np.stack(np.meshgrid(*[weights] * dimension, indexing="ij"), -1).reshape(-1, dimension), axis=1)
    points = np.asarray(mean) + grid @ np.linalg.cholesky(np.asarray(covariance)).T
    return torch.from_numpy(points)[:, None, None, :], torch.from_numpy(mass / mass.sum())
