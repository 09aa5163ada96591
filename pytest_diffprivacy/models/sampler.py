"""How does the user's own scheduler walk from noise to an image? Step by step, with noise of each image's own."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.noise import sampler_seed

Output: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(what the scheduler gives the network, its time for each row) -> what the scheduler takes from it."""


def check_steps(scheduler: Any, steps: int) -> None:
    """Refuse a number of steps that a diffusers scheduler does not go.

    Raises:
        UsageError: it is below 1, or above the number of timesteps in training.
    """
    most = int(scheduler.config.num_train_timesteps)
    if not 1 <= steps <= most:
        raise UsageError(f"`steps` must be between 1 and {most}, got {steps!r}.")


@torch.no_grad()
def walk(scheduler: Any, output: Output, x_T: Tensor, *, steps: int, seeds: Sequence[int]) -> Tensor:
    """The clean end of the scheduler's own walk, as a diffusers pipeline without guidance goes it.

    Args:
        scheduler: a diffusers scheduler; a copy walks, so that its state stays as it was.
        output: asks the network.
        x_T: (n, ...) standard normal noise, on the model's device and in its precision.
        steps: of the scheduler.
        seeds: one a row, from which the noise of a stochastic scheduler is drawn.

    Raises:
        UsageError: the scheduler does not go so many steps.
    """
    check_steps(scheduler, steps)
    own = copy.deepcopy(scheduler)
    own.set_timesteps(steps, device=x_T.device)
    further: dict[str, Any] = {}
    if "generator" in inspect.signature(own.step).parameters:
        further["generator"] = [torch.Generator(x_T.device).manual_seed(sampler_seed(seed)) for seed in seeds]
    offers = dir(own)  # schedulers of rectified flow scale nothing
    x = x_T * own.init_noise_sigma if "init_noise_sigma" in offers else x_T
    for time in own.timesteps:
        given = own.scale_model_input(x, time) if "scale_model_input" in offers else x
        x = own.step(output(given, time.expand(len(given))), time, x, **further).prev_sample
    return x
