"""SimA: how much noise does the model see in the clean image itself?"""

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

TIMESTEP: int = ReferenceTimestep(100)
POWER = 4


def sima_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int = TIMESTEP,
    p: float = POWER,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images by minus the size of the noise predicted for the clean image.

    `score = -sum | eps_theta(x0, t) |^p` with the clean image in the place of x_t: the p-th power of the paper's norm,
    as the authors' code returns it (same ranking). One network call; no randomness enters.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        timestep: the paper reports the best of 10..300 on the labels it scores; the default t = 100 is this project's
            choice, fixed beforehand and matched by signal-to-noise ratio. A plain int is the model's own.
        p: power of the norm, > 0.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: p is not positive, or the timestep leaves the schedule.
        AuditError: the model's output is not finite.

    Source: Implements Rao et al. 2025 (SimA) without the root; the timestep is ours (METHODS 3.5).
    """
    denoiser = require_denoiser(model, "SimA")
    checked = as_images(images)
    if not p > 0:
        raise UsageError(f"`p` must be positive, got {p!r}.")
    t = denoiser.schedule.match(timestep).index

    @torch.no_grad()
    def score_batch(part: slice, batch: Tensor) -> Tensor:
        condition = batch_condition(denoiser, prompts, part, len(checked))
        eps = denoiser.predict_eps(denoiser.encode(batch), t, condition)
        return -eps.double().abs().pow(p).flatten(1).sum(1)

    return score_images(checked, score_batch, batch_size=batch_size, method="SimA")


SIMA = Attack(
    name="sima",
    title="SimA",
    access="grey box",
    source="Rao et al. 2025 (SimA)",
    scores=sima_scores,
    defaults={"timestep": TIMESTEP, "p": POWER},
    version=1,
    seeded=False,
    evaluations=lambda p: 1,
    timesteps=lambda p: (p["timestep"],),
    decides_at_timestep=True,
)
