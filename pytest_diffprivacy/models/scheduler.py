"""A diffusers scheduler: its noise schedule, what it says the network predicts, and its walk from noise to image."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.noise import sampler_generators
from pytest_diffprivacy.models.prediction import Array, Direct, Parametrization, Preconditioned, PredictionType
from pytest_diffprivacy.models.schedule import NoiseSchedule

Output: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(what the scheduler gives the network, its time for each row) -> what the scheduler takes from it."""
FLOW = "FlowMatch"
MENDED = ("DDIM", "DDPM")
CONSISTENCY = "CMStochasticIterativeScheduler"
DISTILLED = ("LCM", "TCD")
"""Schedulers of networks that are distilled into a consistency function."""


def schedule_of(scheduler: Any) -> NoiseSchedule:
    """The noise schedule in a diffusers scheduler's own arrays.

    Rectified flow (FlowMatch...) has alpha = 1 - sigma; its end without any signal is left out, where eps is x_t
    whatever the network says. Noise levels of EDM and consistency schedulers stand at the scale of a
    variance-preserving schedule (see `Preconditioned`); the level at which a consistency model returns what it is
    given is left out, too.

    Raises:
        ModelError: the scheduler has no `alphas_cumprod`, and is none of those above.
    """
    if _is_flow(scheduler):
        sigmas, _ = _flow(scheduler)
        return NoiseSchedule(1.0 - sigmas, sigmas, "trailing")
    if _is_preconditioned(scheduler):
        levels = _preconditioned(scheduler).levels
        return NoiseSchedule(1.0 / np.hypot(1.0, levels), levels / np.hypot(1.0, levels), "linspace")
    abar = getattr(scheduler, "alphas_cumprod", None)
    if abar is None:
        raise ModelError(
            f"Scheduler {type(scheduler).__name__} has no `alphas_cumprod`. "
            "Pass a DDPMScheduler or DDIMScheduler with the training schedule."
        )
    table = abar.double().cpu().numpy()
    config = scheduler.config
    to_one = config.get("set_alpha_to_one", True)
    final = (1.0, 0.0) if to_one else (float(table[0]) ** 0.5, float(1.0 - table[0]) ** 0.5)
    spacing = config.get("timestep_spacing", "leading")
    return NoiseSchedule.from_alphas_cumprod(
        table, spacing=spacing, steps_offset=config.get("steps_offset", 0), final=final
    )


def parametrization_of(scheduler: Any) -> Parametrization:
    """What the network takes and what it predicts, as the scheduler's arithmetic has it.

    Raises:
        ModelError: the scheduler names a prediction that is not known.
    """
    if _is_flow(scheduler):
        return Direct(PredictionType.FLOW, _flow(scheduler)[1])
    if _is_preconditioned(scheduler):
        return _preconditioned(scheduler)
    kind = _prediction_type(scheduler)
    if scheduler.config.get("timestep_type") == "continuous" and kind is PredictionType.V:
        # EulerDiscreteScheduler gives the network log(s)/4; at unit scale its v is that of Salimans and Ho.
        abar = scheduler.alphas_cumprod.double().cpu().numpy()
        return Direct(kind, 0.25 * np.log(np.sqrt((1.0 - abar) / abar)))
    return Direct(kind, mean=not type(scheduler).__name__.startswith(DISTILLED))


def _prediction_type(scheduler: Any) -> PredictionType:
    text = scheduler.config.get("prediction_type", "epsilon")
    if text not in (PredictionType.EPS, PredictionType.X0, PredictionType.V):  # FLOW holds on another schedule
        raise ModelError(
            f"`prediction_type` of {type(scheduler).__name__} must be epsilon, sample or v_prediction, got {text!r}. "
            "Give a model of rectified flow the FlowMatchEulerDiscreteScheduler that it was trained with."
        )
    return PredictionType(text)


def check_steps(scheduler: Any, steps: int) -> None:
    """Refuse a number of steps below 1, above the number of timesteps in training, or that diffusers counts wrongly.

    Raises:
        UsageError: of those; rounding takes some numbers of `trailing` steps one too far, to timestep -1.
    """
    most = int(scheduler.config.num_train_timesteps)
    if not 1 <= steps <= most:
        raise UsageError(f"`steps` must be between 1 and {most}, got {steps!r}.")
    if scheduler.config.get("timestep_spacing") == "trailing":
        own = copy.deepcopy(scheduler)
        own.set_timesteps(steps)
        if float(own.timesteps.min()) < 0.0:
            raise UsageError(
                f"`steps` must be another number than {steps}: {type(scheduler).__name__} rounds it to timestep -1, "
                f"with another image at its end. Take {steps - 1} or {steps + 1}."
            )


@torch.no_grad()
def walk(scheduler: Any, output: Output, x_T: Tensor, *, steps: int, seeds: Sequence[int]) -> Tensor:
    """The clean end of the walk of a copy of the scheduler from x_T, as a diffusers pipeline without guidance goes it.

    The noise of a stochastic scheduler is drawn for each row from its seed.

    Raises:
        UsageError: the scheduler does not go so many steps.
    """
    own = copy.deepcopy(scheduler)
    offers = dir(own)
    # Rounding takes trailing steps one too far; DDIM and DDPM, which remember no step, lose nothing without that one.
    mended = scheduler.config.get("timestep_spacing") == "trailing" and type(scheduler).__name__.startswith(MENDED)
    if not mended or steps < 1:
        check_steps(scheduler, steps)
    own.set_timesteps(steps, device=x_T.device)
    times = own.timesteps[own.timesteps >= 0] if mended else own.timesteps
    further: dict[str, Any] = {}
    if "generator" in inspect.signature(own.step).parameters:
        further["generator"] = sampler_generators(seeds, x_T.device)
    x = x_T * own.init_noise_sigma if "init_noise_sigma" in offers else x_T  # those of rectified flow scale nothing
    for time in times:
        given = own.scale_model_input(x, time) if "scale_model_input" in offers else x
        x = own.step(output(given, time.expand(len(given))), time, x, **further).prev_sample
    return x


def _is_flow(scheduler: Any) -> bool:
    return type(scheduler).__name__.startswith(FLOW)


def _is_preconditioned(scheduler: Any) -> bool:
    return "precondition_outputs" in dir(scheduler) or type(scheduler).__name__ == CONSISTENCY


def _flow(scheduler: Any) -> tuple[Array, Array]:
    """(sigma, the network's time) of the training table, clean end first."""
    if scheduler.config.get("invert_sigmas"):
        raise ModelError(
            f"{type(scheduler).__name__} with `invert_sigmas` counts noise backwards. Give another scheduler."
        )
    fresh = type(scheduler).from_config(scheduler.config)  # the user's holds the steps of its latest sampling run
    sigmas = _array(fresh.sigmas)[::-1]
    times = _array(fresh.timesteps)[::-1]
    some_signal = sigmas < 1.0
    return sigmas[some_signal], times[some_signal]


def _preconditioned(scheduler: Any) -> Preconditioned:
    fresh = type(scheduler).from_config(scheduler.config)
    config = fresh.config
    if type(scheduler).__name__ == CONSISTENCY:
        fresh.set_timesteps(config.num_train_timesteps)
    levels, times = _array(fresh.sigmas)[-2::-1], _array(fresh.timesteps)[::-1]
    if type(scheduler).__name__ == CONSISTENCY:
        above = levels > config.sigma_min * (1.0 + 1e-4)
        levels, times = levels[above], times[above]
        c_skip, c_out = fresh.get_scalings_for_boundary_condition(levels)
        c_in = 1.0 / np.hypot(levels, config.sigma_data)
        return Preconditioned("consistency function", levels, times, c_in, c_skip, c_out, mean=False)
    s, one, zero = (torch.from_numpy(a) for a in (levels.copy(), np.ones_like(levels), np.zeros_like(levels)))
    c_in = _array(fresh.precondition_inputs(one, s))
    c_skip, c_out = (_array(fresh.precondition_outputs(*pair, s)) for pair in ((one, zero), (zero, one)))
    return Preconditioned(f"EDM-preconditioned {_prediction_type(fresh).value}", levels, times, c_in, c_skip, c_out)


def _array(tensor: Any) -> Array:
    values: Array = torch.as_tensor(tensor).double().cpu().numpy()
    return values
