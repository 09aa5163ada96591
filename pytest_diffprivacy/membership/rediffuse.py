"""ReDiffuse: distance of the image to the mean of the variations that the model makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Access, ImageBatch, method
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_step
from pytest_diffprivacy.models.noise import ProbeDraws
from pytest_diffprivacy.models.protocols import Denoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule, ReferenceTimestep, match_all

Distance: TypeAlias = Callable[[Tensor, Tensor], Tensor]
DISTANCES: Final[Mapping[str, Distance]] = {
    "l1": lambda x0, mean: (x0 - mean).abs().flatten(1).sum(1),
    "l2": lambda x0, mean: (x0 - mean).square().flatten(1).sum(1),
}


@method(
    title="ReDiffuse",
    access=Access.GREY_BOX,
    source="Li et al. 2025 (ReDiffuse), with a fixed distance instead of a trained classifier",
    version=1,
    evaluations=lambda p: int(p["draws"]) * (int(p["timestep"]) // int(p["step"])),
    noise="draws",
)
def rediffuse(
    batch: ImageBatch,
    *,
    timestep: int = ReferenceTimestep(200),
    step: int = 100,
    draws: int = 10,
    distance: Literal["l1", "l2"] | Distance = "l2",
) -> Tensor:
    """Score images by minus the distance to the mean of their variations.

    A variation noises the image to `timestep` and brings it back by DDIM in steps of `step`; index 0 is the clean end.

    Args:
        model: grey-box access; the variations are what an image-to-image service with this model would return.
        timestep: the default grid is that of the papers' schedule, matched by signal-to-noise ratio; a plain int is the
            model's own.
        step: distance of the grid's timesteps; must divide timestep.
        draws: variations of each image.
        distance: "l2" (sum of squares), "l1" (sum of sizes), or a callable (x0, mean variation) -> (batch,), lower =
            closer. Both are float64 in the model's space: pixels in [-1, 1], or latents.

    Raises:
        UsageError: bad images, noise, distance or prompts; step does not divide timestep, or the grid leaves the
            schedule.

    Source: Follows Li et al. 2025 (ReDiffuse), except that a distance fixed beforehand replaces the classifier that
    their evaluation trains on a fifth of the labels.
    """
    grid = rediffuse_grid(batch.model.schedule, timestep, step)
    if not callable(distance) and distance not in DISTANCES:
        raise UsageError(f"`distance` must be one of {', '.join(DISTANCES)} or a callable, got {distance!r}.")
    measure = distance if callable(distance) else DISTANCES[distance]
    x0, noise = batch.x0, batch.draws(draws)
    found = measure(x0.double(), mean_variation(batch.model, x0, noise, grid=grid, conditioning=batch.conditioning))
    if found.shape != (len(x0),):
        raise UsageError(f"`distance` must return shape ({len(x0)},), got {tuple(found.shape)}.")
    return -found


rediffuse_scores = rediffuse.scores


@torch.no_grad()
def mean_variation(
    model: Denoiser,
    x0: Tensor,
    noise: Tensor | ProbeDraws,
    *,
    grid: Sequence[int],
    conditioning: Conditioning | None = None,
) -> Tensor:
    """The mean of an image's variations.

    Args:
        model: the denoiser.
        x0: (n, *model.sample_shape) in the model's space.
        noise: (draws, n, *model.sample_shape), or draw by draw: one a variation.
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
