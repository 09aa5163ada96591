"""How is a denoiser D(x, sigma) of k-diffusion or EDM audited? As it is, preconditioning included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from pytest_diffprivacy import ProbeSet, assert_mia_auroc_below
from pytest_diffprivacy.models import NetworkDenoiser, karras_denoiser

SIGMAS = np.geomspace(0.002, 80.0, 500)  # the noise levels of training


def as_model(denoiser: Callable[[Tensor, Tensor], Tensor], image_shape: tuple[int, int, int]) -> NetworkDenoiser:
    """`denoiser(x, sigma)` returns the clean image in x = x0 + sigma eps, in [-1, 1]; sigma is a vector."""
    return karras_denoiser(denoiser, image_shape, sigmas=SIGMAS, name="my denoiser", version="release 3")


def audit(denoiser: Callable[[Tensor, Tensor], Tensor], probes: ProbeSet) -> None:
    """Raise unless members hide among the others; t = 100 of the papers is matched by signal-to-noise ratio."""
    assert_mia_auroc_below(as_model(denoiser, probes.members.image_shape), probes, attack="secmi", limit=0.9)
