"""PIAN: does the model's noise guess for the clean image return, once it is brought to the size of Gaussian noise?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images, batch_condition, score_images

TIMESTEP: int = ReferenceTimestep(200)
POWER = 4
MEAN_SIZES: Final[Mapping[str, float]] = {
    "code": math.sqrt(2.0 / math.pi),  # E|N(0, 1)|: what the authors' code does
    "paper": math.sqrt(math.pi / 2.0),  # what Eq. 10 prints: a misprint
}


def pian_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int = TIMESTEP,
    p: float = POWER,
    normalization: Literal["code", "paper"] = "code",
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images by minus the proximal initialization error of a normalized noise guess.

    `e0 = eps_theta(x0, 0)`, `e0 <- c * e0 / mean|e0|` an image, `score = -sum | e0 - eps_theta(alpha_t x0 + sigma_t e0,
    t) |^p`: the p-th power of the paper's norm, as the authors' code returns it (same ranking). No randomness enters.
    Normalizing removes the size of e0, which is itself a sign of membership: on smooth models PIAN can rank members
    last (METHODS 3.4), so never judge by PIAN alone.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        timestep: the default is the papers' t = 200, matched by signal-to-noise ratio; a plain int is the model's own.
        p: power of the norm, > 0.
        normalization: "code" is c = sqrt(2 / pi), the mean size of Gaussian noise; "paper" is the sqrt(pi / 2) that
            Eq. 10 prints by mistake.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: p is not positive, no such normalization, or the timestep leaves the schedule.
        AuditError: the model's output is not finite, or e0 is zero and has no normalized form.

    Source: Implements Kong et al. 2024 (PIAN), Eq. 9-10, without the root and with the constant of the authors' code.
    """
    denoiser = require_denoiser(model, "PIAN")
    checked = as_images(images)
    if not p > 0:
        raise UsageError(f"`p` must be positive, got {p!r}.")
    if normalization not in MEAN_SIZES:
        raise UsageError(f"`normalization` must be one of {', '.join(MEAN_SIZES)}, got {normalization!r}.")
    t = denoiser.schedule.match(timestep).index
    alpha, sigma = denoiser.schedule.at(t)

    @torch.no_grad()
    def score_batch(part: slice, batch: Tensor) -> Tensor:
        x0 = denoiser.encode(batch)
        condition = batch_condition(denoiser, prompts, part, len(checked))
        e0 = _of_mean_size(MEAN_SIZES[normalization], denoiser.predict_eps(x0, 0, condition))
        again = denoiser.predict_eps(alpha * x0 + sigma * e0, t, condition)
        return -(e0 - again).double().abs().pow(p).flatten(1).sum(1)

    return score_images(checked, score_batch, batch_size=batch_size, method="PIAN")


def _of_mean_size(size: float, eps: Tensor) -> Tensor:
    """Each image's eps, rescaled so that mean|eps| is `size`."""
    mean = eps.abs().flatten(1).mean(1)
    if bool((mean == 0).any()):
        raise AuditError("PIAN: the model predicts no noise at all for a clean image. Use another attack, e.g. PIA.")
    return size * eps / mean.reshape(-1, *(1,) * (eps.ndim - 1))


PIAN = Attack(
    name="pian",
    title="PIAN",
    access="grey box",
    source="Kong et al. 2024 (PIAN), Eq. 9-10; constant as in the authors' code",
    scores=pian_scores,
    defaults={"timestep": TIMESTEP, "p": POWER, "normalization": "code"},
    version=1,
    seeded=False,
    evaluations=lambda p: 2,
    timesteps=lambda p: (p["timestep"],),
    decides_at_timestep=True,
)
