"""PIA: does the model's own noise guess for the clean image return when it is used as the noise?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images, batch_condition, score_images

TIMESTEP: int = ReferenceTimestep(200)
POWER = 4


def pia_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int = TIMESTEP,
    p: float = POWER,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images by minus the proximal initialization error.

    `e0 = eps_theta(x0, 0)`, `score = -sum | e0 - eps_theta(alpha_t x0 + sigma_t e0, t) |^p`: the p-th power of the
    paper's norm, as the authors' code returns it (same ranking). No randomness enters.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        timestep: the default is the papers' t = 200, matched by signal-to-noise ratio; a plain int is the model's own.
        p: power of the norm, > 0.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: p is not positive, or the timestep leaves the schedule.
        AuditError: the model's output is not finite.

    Source: Implements Kong et al. 2024 (PIA), Eq. 9, without the root.
    """
    denoiser = require_denoiser(model, "PIA")
    checked = as_images(images)
    if not p > 0:
        raise UsageError(f"`p` must be positive, got {p!r}.")
    t = denoiser.schedule.match(timestep).index
    alpha, sigma = denoiser.schedule.at(t)

    @torch.no_grad()
    def score_batch(part: slice, batch: Tensor) -> Tensor:
        x0 = denoiser.encode(batch)
        condition = batch_condition(denoiser, prompts, part, len(checked))
        e0 = denoiser.predict_eps(x0, 0, condition)
        again = denoiser.predict_eps(alpha * x0 + sigma * e0, t, condition)
        return -(e0 - again).double().abs().pow(p).flatten(1).sum(1)

    return score_images(checked, score_batch, batch_size=batch_size, method="PIA")


PIA = Attack(
    name="pia",
    title="PIA",
    access="grey box",
    source="Kong et al. 2024 (PIA), Eq. 9",
    scores=pia_scores,
    defaults={"timestep": TIMESTEP, "p": POWER},
    version=1,
    seeded=False,
    evaluations=lambda p: 2,
    timesteps=lambda p: (p["timestep"],),
    decides_at_timestep=True,
)
