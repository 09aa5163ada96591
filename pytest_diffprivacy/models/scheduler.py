"""What does a diffusers scheduler say about the model? Its noise schedule, and what the network predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.parametrization import Direct, Parametrization, Preconditioned
from pytest_diffprivacy.models.prediction import PredictionType
from pytest_diffprivacy.models.schedule import NoiseSchedule

Array = NDArray[np.float64]
FLOW = "FlowMatch"
CONSISTENCY = "CMStochasticIterativeScheduler"


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
    """How the network is asked and what it predicts, as the scheduler's arithmetic has it.

    Raises:
        ModelError: the scheduler names a prediction that is not known.
    """
    if _is_flow(scheduler):
        return Direct(PredictionType.FLOW, _flow(scheduler)[1])
    if _is_preconditioned(scheduler):
        return _preconditioned(scheduler)
    kind = prediction_type_of(scheduler)
    if scheduler.config.get("timestep_type") == "continuous" and kind is PredictionType.V:
        # EulerDiscreteScheduler tells the network log(s)/4; at unit scale its v is that of Salimans and Ho.
        abar = scheduler.alphas_cumprod.double().cpu().numpy()
        return Direct(kind, 0.25 * np.log(np.sqrt((1.0 - abar) / abar)))
    return Direct(kind)


def prediction_type_of(scheduler: Any) -> PredictionType:
    """What the network was trained to predict, as the scheduler's configuration says."""
    text = scheduler.config.get("prediction_type", "epsilon")
    try:
        return PredictionType(text)
    except ValueError:
        raise ModelError(
            f"`prediction_type` of {type(scheduler).__name__} must be epsilon, sample or v_prediction, got {text!r}. "
            "Give a model of rectified flow the FlowMatchEulerDiscreteScheduler that it was trained with."
        ) from None


def _is_flow(scheduler: Any) -> bool:
    return type(scheduler).__name__.startswith(FLOW)


def _is_preconditioned(scheduler: Any) -> bool:
    return "precondition_outputs" in dir(scheduler) or type(scheduler).__name__ == CONSISTENCY


def _flow(scheduler: Any) -> tuple[Array, Array]:
    """(sigma, what the network is told) of the training table, clean end first."""
    if scheduler.config.get("invert_sigmas"):
        raise ModelError(f"{type(scheduler).__name__} with `invert_sigmas` counts noise backwards; not supported.")
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
        above = levels > config.sigma_min * (1.0 + 1e-4)
        levels, times = levels[above], times[above]
        c_skip, c_out = fresh.get_scalings_for_boundary_condition(levels)
        c_in = 1.0 / np.hypot(levels, config.sigma_data)
        return Preconditioned("consistency function", levels, times, c_in, c_skip, c_out)
    levels, times = _array(fresh.sigmas)[-2::-1], _array(fresh.timesteps)[::-1]
    s, one, zero = (torch.from_numpy(a) for a in (levels.copy(), np.ones_like(levels), np.zeros_like(levels)))
    return Preconditioned(
        f"EDM-preconditioned {prediction_type_of(fresh).value}",
        levels,
        times,
        _array(fresh.precondition_inputs(one, s)),
        _array(fresh.precondition_outputs(one, zero, s)),
        _array(fresh.precondition_outputs(zero, one, s)),
    )


def _array(tensor: Any) -> Array:
    values: Array = torch.as_tensor(tensor).double().cpu().numpy()
    return values
