"""SecMI: does one deterministic step up and back return to where the image's own trajectory was?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.models.ddim import ddim_invert, ddim_step
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule, ReferenceTimestep, match_all
from pytest_diffprivacy.models.scoring import BATCH_SIZE, as_images, batch_condition, score_images

TIMESTEP: int = ReferenceTimestep(90)
STEP = 10


def secmi_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int = TIMESTEP,
    step: int = STEP,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images by minus SecMI's t-error (the paper's statistic, SecMI stat).

    The image is inverted 0 -> step -> ... -> timestep by DDIM; one step to timestep + step and back gives x'.
    `score = -|| x' - x_timestep ||_2^2`, a sum over pixels. No randomness enters.

    Args:
        model: grey-box access.
        images: (n, channels, height, width) in [0, 1].
        timestep: the default is what the authors' code runs, 90; the paper prints 100. The default grid is that of
            the papers' schedule, matched by signal-to-noise ratio; a plain int is the model's own.
        step: distance of the grid's timesteps; must divide timestep.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: step does not divide timestep, or the grid leaves the schedule.
        AuditError: the model's output is not finite.

    Source: Implements Duan et al. 2023 (SecMI), Eq. 8-10, with the timestep of the authors' code.
    """
    denoiser = require_denoiser(model, "SecMI")
    checked = as_images(images)
    *path, above = secmi_grid(denoiser.schedule, timestep, step)
    top = path[-1]

    @torch.no_grad()
    def score_batch(part: slice, batch: Tensor) -> Tensor:
        condition = batch_condition(denoiser, prompts, part, len(checked))
        x = ddim_invert(denoiser, batch, timesteps=path, conditioning=condition)
        here, there = denoiser.schedule.at(top), denoiser.schedule.at(above)
        eps = denoiser.predict_eps(x, top, condition)
        eps_above = denoiser.predict_eps(ddim_step(x, eps, here, there), above, condition)
        # D(D(x; here -> there); there -> here) - x: x cancels in the formula, so its rounding does not enter
        error = (here[0] * there[1] / there[0] - here[1]) * (eps - eps_above).double()
        return -error.square().flatten(1).sum(1)

    return score_images(checked, score_batch, batch_size=batch_size, method="SecMI")


def secmi_grid(schedule: NoiseSchedule, timestep: int, step: int) -> list[int]:
    """The model's own timesteps that SecMI visits: 0, step, ..., timestep, timestep + step.

    Raises:
        UsageError: step does not divide timestep, or two points of the grid are one timestep of this schedule.
    """
    if step < 1 or timestep < 0 or timestep % step:
        raise UsageError(f"`timestep` must be a multiple of `step` = {step!r}, got {int(timestep)!r}.")
    kind = ReferenceTimestep if isinstance(timestep, ReferenceTimestep) else int
    wanted = [kind(t) for t in range(0, int(timestep) + step + 1, step)]
    return [m.index for m in match_all(schedule, wanted)]


SECMI = Attack(
    name="secmi",
    title="SecMI (statistic)",
    access="grey box",
    source="Duan et al. 2023 (SecMI), Eq. 8-10; timestep as in the authors' code",
    scores=secmi_scores,
    defaults={"timestep": TIMESTEP, "step": STEP},
    version=1,
    seeded=False,
    evaluations=lambda p: int(p["timestep"]) // int(p["step"]) + 2,
    timesteps=lambda p: (p["timestep"],),
    decides_at_timestep=True,
)
