"""Score difference: how strongly the prompt pulls, from the first step on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import detector
from pytest_diffprivacy.memorization.observation import Observation, Seen, first_steps
from pytest_diffprivacy.methods import Access

Form = Literal["eps", "score"]


@detector(
    title="Score difference",
    access=Access.GREY_BOX,
    source="Wen et al. 2024, section 3.1",
    version=1,
)
def score_difference(*, steps: int = 1, form: Form = "eps") -> Observation:
    """Score prompts by `|| eps_c - eps_u ||_2`, averaged over the first steps and then over images.

    A memorized prompt pulls towards one image, whatever the noise; an ordinary one pulls weakly at first. Two network
    rows an image and step, no derivative. The eps of a v-model is its true eps, so limits transfer.

    Args:
        steps: how many of the first sampling steps are scored.
        form: "eps" for the authors' norm; "score" divides it by sigma_t, which weighs the steps differently.

    Source: Implements Wen et al. 2024, section 3.1, except that a v-model's prediction is converted to eps first
        (METHODS 4.1).
    """
    if form not in get_args(Form):
        raise UsageError(f"`form` must be 'eps' or 'score', got {form!r}.")

    def norms(step: Seen) -> Mapping[str, Tensor]:
        scale = step.model.schedule.at(step.timestep)[1] if form == "score" else 1.0
        return {"norms": torch.linalg.vector_norm(step.pull.double().flatten(1), dim=1) / scale}

    return Observation(at=first_steps(steps), observe=norms, formula=lambda arrays: arrays["norms"].mean((1, 2)))


score_difference_scores = score_difference.scores
