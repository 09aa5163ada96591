"""What does a diffusers scheduler say about the model? Its noise schedule, and what the network predicts."""

from __future__ import annotations

from typing import Any

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.prediction import PredictionType
from pytest_diffprivacy.models.schedule import NoiseSchedule


def schedule_of(scheduler: Any) -> NoiseSchedule:
    """The noise schedule in a diffusers scheduler's own arrays.

    Raises:
        ModelError: the scheduler has no `alphas_cumprod`.
    """
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


def prediction_type_of(scheduler: Any) -> PredictionType:
    """What the network was trained to predict, as the scheduler's configuration says."""
    text = scheduler.config.get("prediction_type", "epsilon")
    try:
        return PredictionType(text)
    except ValueError:
        raise ModelError(f"`prediction_type` must be epsilon, sample or v_prediction, got {text!r}.") from None
