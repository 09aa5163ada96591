"""Score difference: how strongly does the prompt pull, from the first step on?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import Arrays, Detector, Needs, Scores, Seen
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, detector_scores
from pytest_diffprivacy.statistics.arguments import check_count

Form = Literal["eps", "score"]
STEPS = 1


def score_difference_scores(
    model: object,
    prompts: Sequence[str],
    *,
    latents: Tensor | NDArray[Any] | None = None,
    images_per_prompt: int = 4,
    steps: int = STEPS,
    form: Form = "eps",
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score prompts by `|| eps_c - eps_u ||_2`, averaged over the first steps and then over images.

    A memorized prompt pulls towards one image, whatever the noise; an ordinary one pulls weakly at first. Two network
    rows an image and step, no derivative.

    Args:
        model: grey-box access to a text-to-image model.
        prompts: texts, none of them empty.
        latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
        images_per_prompt: images a prompt; the latents' own if they are given.
        steps: how many of the first sampling steps are scored.
        form: "eps" for the authors' norm; "score" divides it by sigma_t, which weighs the steps differently.
        sampling_steps: DDIM steps of a whole walk.
        guidance_scale: moves x_t from the second step on.
        seed: of x_T.
        batch_size: images in one network call.

    Returns:
        float64 (prompts,), higher = memorized. The eps of a v-model is its true eps, so limits transfer.

    Raises:
        UsageError: empty prompts, or latents, steps or form that do not fit.
        ModelError: the model takes no texts.
        AuditError: the model's output is not finite.

    Source: Implements Wen et al. 2024, section 3.1, except that a v-model's prediction is converted to eps first
        (METHODS 4.1).
    """
    return detector_scores(
        SCORE_DIFFERENCE, model, prompts, Sampling(images_per_prompt, sampling_steps, guidance_scale, seed),
        latents=latents, batch_size=batch_size, steps=steps, form=form,
    )  # fmt: skip


def check_first_steps(sampling_steps: int, steps: int) -> None:
    """Refuse more steps than are sampled.

    Raises:
        UsageError: they are no whole number, or outside 1..sampling_steps.
    """
    if check_count("steps", steps, least=1) > sampling_steps:
        raise UsageError(f"`steps` must be between 1 and `sampling_steps` = {sampling_steps}, got {steps!r}.")


@final
class _Norms:
    """Norms (rows, steps)."""

    def __init__(self, form: Form) -> None:
        self._form, self._norms = form, list[Tensor]()

    def see(self, step: Seen) -> None:
        scale = step.model.schedule.at(step.timestep)[1] if self._form == "score" else 1.0
        difference = (step.eps_c - step.eps_u).double().flatten(1)
        self._norms.append(torch.linalg.vector_norm(difference, dim=1) / scale)

    def arrays(self) -> Arrays:
        return {"norms": torch.stack(self._norms, 1).cpu().numpy()}


def _needs(sampling_steps: int, *, steps: int, form: Form) -> Needs:
    check_first_steps(sampling_steps, steps)
    if form not in get_args(Form):
        raise UsageError(f"`form` must be 'eps' or 'score', got {form!r}.")
    return Needs(steps)


def _scores(arrays: Arrays, *, steps: int, form: Form) -> Scores:
    return np.asarray(arrays["norms"].mean((1, 2)))


def _observer(*, steps: int, form: Form) -> _Norms:
    return _Norms(form)


def _evaluations(sampling_steps: int, *, steps: int, form: Form) -> int:
    return 2 * steps


SCORE_DIFFERENCE = Detector(
    name="score_difference",
    title="Score difference",
    access="grey box",
    source="Wen et al. 2024, section 3.1",
    needs=_needs,
    observer=_observer,
    scores=_scores,
    defaults={"steps": STEPS, "form": "eps"},
    version=1,
    evaluations=_evaluations,
)
