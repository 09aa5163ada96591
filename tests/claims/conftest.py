"""Small smooth images, models with exact answers for them, and a place outside any pytest session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_diffprivacy import ProbeSet, options
from pytest_diffprivacy.audit import current
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.models.densities import GaussianMixture

SIDE = 6
SPREAD = 0.05


def _waves() -> np.ndarray:
    """15 smooth patterns, (15, pixels)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    patterns = [np.cos(np.pi * a * y) * np.cos(np.pi * b * x) for a in range(4) for b in range(4)]
    return np.stack(patterns[1:]).reshape(15, SIDE * SIDE)


WAVES = _waves()


def smooth_images(seed: int, count: int) -> np.ndarray:
    """Draws from the population: (count, 1, SIDE, SIDE) in [0, 1]."""
    weights = np.random.default_rng(seed).normal(0.0, SPREAD, (count, len(WAVES)))
    return (0.5 + weights @ WAVES).clip(0.0, 1.0).astype(np.float32).reshape(count, 1, SIDE, SIDE)


def mixture(members: np.ndarray) -> AnalyticDenoiser:
    """The population, and with as much weight a narrow peak at each of some images; none: the population alone."""
    broad = torch.from_numpy(4.0 * SPREAD**2 * WAVES.T @ WAVES)
    peaks = torch.from_numpy(members).double().flatten(1) * 2.0 - 1.0
    narrow = 1e-4 * torch.eye(SIDE * SIDE, dtype=torch.float64).expand(len(members), -1, -1)
    return AnalyticDenoiser(
        GaussianMixture(
            torch.cat([torch.zeros(1, SIDE * SIDE, dtype=torch.float64), peaks]),
            torch.cat([broad[None], narrow]),
            torch.tensor([float(max(1, len(members))), *[1.0] * len(members)]),
        ),
        (1, SIDE, SIDE),
        name="mixture",
    )


@pytest.fixture(scope="session")
def population() -> AnalyticDenoiser:
    """A model that generalizes perfectly."""
    return mixture(smooth_images(0, 0))


@pytest.fixture(scope="session")
def probes() -> ProbeSet:
    """200 members and 300 images that were never seen."""
    images = smooth_images(1, 500)
    return ProbeSet(images[:200], images[200:])


@pytest.fixture(scope="session")
def memorizing(probes: ProbeSet) -> AnalyticDenoiser:
    """A model with perfect memory of the members and nothing else."""
    return ideal_denoiser(torch.from_numpy(probes.members.load(range(200))))


@pytest.fixture(autouse=True)
def outside_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No session, an empty working folder; the plain function must leave it empty."""
    monkeypatch.setattr(current, "_current", None)
    monkeypatch.chdir(tmp_path)
    session = options.activate(None)
    yield tmp_path
    options.activate(session)
    assert list(tmp_path.iterdir()) == []
