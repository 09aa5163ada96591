"""How is a plain PyTorch network that predicts noise audited? With the schedule it was trained with."""

from __future__ import annotations

import numpy as np
import torch

from pytest_diffprivacy import ProbeSet, assert_mia_auroc_below
from pytest_diffprivacy.models import NetworkDenoiser, NoiseSchedule

BETAS = np.linspace(1e-4, 0.02, 1000)  # as in training


def as_model(network: torch.nn.Module, image_shape: tuple[int, int, int]) -> NetworkDenoiser:
    """`network(x_t, t)` returns the noise in x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps; t is a vector of indices."""
    schedule = NoiseSchedule.from_alphas_cumprod(np.cumprod(1.0 - BETAS))
    return NetworkDenoiser(network, schedule, image_shape, name="my network", version="commit 1a2b3c")


def audit(network: torch.nn.Module, probes: ProbeSet) -> None:
    """Raise unless members hide among the others."""
    model = as_model(network, probes.members.image_shape)
    assert_mia_auroc_below(model, probes, attack="loss", limit=0.9)
