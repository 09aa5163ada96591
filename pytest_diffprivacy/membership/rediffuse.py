"""ReDiffuse: does the model, asked several times for variations of the image, return on average to the image itself?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_step
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, require_denoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule, ReferenceTimestep, match_all
from pytest_diffprivacy.models.scoring import (
    BATCH_SIZE,
    as_images,
    batch_condition,
    batch_noise,
    score_images,
)

TIMESTEP: int = ReferenceTimestep(200)
STEP = 100
DRAWS = 10

Distance: TypeAlias = Callable[[Tensor, Tensor], Tensor]
DISTANCES: Final[Mapping[str, Distance]] = {
    "l1": lambda x0, mean: (x0 - mean).abs().flatten(1).sum(1),
    "l2": lambda x0, mean: (x0 - mean).square().flatten(1).sum(1),
}


def rediffuse_scores(
    model: Denoiser,
    images: Tensor | ArrayLike,
    *,
    timestep: int = TIMESTEP,
    step: int = STEP,
    draws: int = DRAWS,
    distance: Literal["l1", "l2"] | Distance = "l2",
    noise: Tensor | None = None,
    seed: int = 0,
    prompts: Sequence[Prompt] | None = None,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float64]:
    """Score images by minus the distance to the mean of their variations.

    A variation noises the image to `timestep` and brings it back by DDIM in steps of `step`; index 0 is the clean end.

    Args:
        model: grey-box access; the variations are what an image-to-image service with this model would return.
        images: (n, channels, height, width) in [0, 1].
        timestep: the default grid is that of the papers' schedule, matched by signal-to-noise ratio; a plain int is the
            model's own.
        step: distance of the grid's timesteps; must divide timestep.
        draws: variations of each image.
        distance: "l2" (sum of squares), "l1" (sum of sizes), or a callable (x0, mean variation) -> (batch,), lower =
            closer. Both are float64 in the model's space: pixels in [-1, 1], or latents.
        noise: replaces the draws: (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one draw.
        seed: seed of the draws; each image's noise also depends on its own digest.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        batch_size: images in one network call.

    Returns:
        float64 (n,), higher = more likely member.

    Raises:
        UsageError: bad images, noise, distance or prompts; step does not divide timestep, or the grid leaves the
            schedule.
        AuditError: the model's output is not finite.

    Source: Follows Li et al. 2025 (ReDiffuse), except that a distance fixed beforehand replaces the classifier that
    their evaluation trains on a fifth of the labels.
    """
    denoiser = require_denoiser(model, "ReDiffuse")
    checked = as_images(images)
    grid = rediffuse_grid(denoiser.schedule, timestep, step)
    if not callable(distance) and distance not in DISTANCES:
        raise UsageError(f"`distance` must be one of {', '.join(DISTANCES)} or a callable, got {distance!r}.")
    measure = distance if callable(distance) else DISTANCES[distance]

    @torch.no_grad()
    def score_batch(part: slice, batch: Tensor) -> Tensor:
        x0 = denoiser.encode(batch)
        condition = batch_condition(denoiser, prompts, part, len(checked))
        drawn = batch_noise(denoiser, batch, part, draws=draws, noise=noise, total=len(checked), seed=seed)
        distances = measure(x0.double(), mean_variation(denoiser, x0, drawn, grid=grid, conditioning=condition))
        if distances.shape != (len(batch),):
            raise UsageError(f"`distance` must return shape ({len(batch)},), got {tuple(distances.shape)}.")
        return -distances

    return score_images(checked, score_batch, batch_size=batch_size, method="ReDiffuse")


@torch.no_grad()
def mean_variation(
    model: Denoiser, x0: Tensor, noise: Tensor, *, grid: Sequence[int], conditioning: Conditioning | None = None
) -> Tensor:
    """The mean of an image's variations.

    Args:
        model: the denoiser.
        x0: (n, *model.sample_shape) in the model's space.
        noise: (draws, n, *model.sample_shape), one row a variation.
        grid: decreasing timesteps of the model's own, from the noised image to the clean end.
        conditioning: what `model.condition(...)` returned, or None.

    Returns:
        float64, same shape as x0, in the model's space, not clamped.

    Source: Implements the averaged variations of Li et al. 2025 (ReDiffuse), with DDIM as the variation API.
    """
    alpha, sigma = model.schedule.at(grid[0])
    total = torch.zeros_like(x0, dtype=torch.float64)
    for eps in noise:
        x = alpha * x0 + sigma * eps
        for t, s in pairwise(grid):
            x = ddim_step(x, model.predict_eps(x, t, conditioning), model.schedule.at(t), model.schedule.at(s))
        total += x
    return total / len(noise)


def rediffuse_grid(schedule: NoiseSchedule, timestep: int, step: int) -> list[int]:
    """The model's own timesteps that a variation visits: timestep, timestep - step, ..., 0.

    Raises:
        UsageError: step does not divide timestep, or two points of the grid are one timestep of this schedule.
    """
    if step < 1 or timestep < step or timestep % step:
        raise UsageError(f"`timestep` must be a positive multiple of `step` = {step!r}, got {int(timestep)!r}.")
    kind = ReferenceTimestep if isinstance(timestep, ReferenceTimestep) else int
    wanted = [kind(t) for t in range(int(timestep), -1, -step)]
    return [m.index for m in match_all(schedule, wanted)]


REDIFFUSE = Attack(
    name="rediffuse",
    title="ReDiffuse",
    access="grey box",
    source="Li et al. 2025 (ReDiffuse), with a fixed distance instead of a trained classifier",
    scores=rediffuse_scores,
    defaults={"timestep": TIMESTEP, "step": STEP, "draws": DRAWS, "distance": "l2"},
    version=1,
    seeded=True,
    evaluations=lambda p: int(p["draws"]) * (int(p["timestep"]) // int(p["step"])),
    timesteps=lambda p: (p["timestep"],),
)
