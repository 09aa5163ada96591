"""Anisotropy: whether the prompt pulls along the direction in which the model would denoise pure noise anyway."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import detector
from pytest_diffprivacy.memorization.observation import Observation, Seen, once
from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.models.ddim import predict_pair
from pytest_diffprivacy.models.prediction import PredictionType, prediction_from_eps

LATE = 3


@detector(
    title="Anisotropy of the log density",
    access=Access.GREY_BOX,
    source="Asthana and Belagiannis 2026",
    version=1,
)
def anisotropy(
    *, weights: tuple[float, float] = (1.0, 2.0), output: PredictionType = PredictionType.EPS
) -> Observation:
    """Score prompts by `g1 || eps_c - eps_u || + g2 mean_positions cos(u', c' - u')`, averaged over images.

    The norm is that of the first step. The cosine, over channels, is taken at the same pure noise but at the third last
    timestep of the walk, which has at least 3: there a memorized prompt pulls along the unconditional prediction. Four
    network rows an image.

    Args:
        weights: (g1, g2), set by hand for each model in the paper: (1, 2) for SD 1.4, (1, 0.1) for SD 2.
        output: in which form u' and c' are compared; the authors take the network's raw output, so "v_prediction" for
            a v-model. Eps by default, which does not depend on how the model was trained.

    Source: Implements Asthana and Belagiannis 2026, except that the norm of a v-model is that of its eps (METHODS 4.8).
    """
    given = np.asarray(weights)
    if given.shape != (2,) or given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise UsageError(f"`weights` must be two finite numbers, got {weights!r}.")
    if output not in list(PredictionType):
        raise UsageError(f"`output` must be one of {', '.join(PredictionType)}, got {output!r}.")

    def first(sampling_steps: int) -> Collection[int]:
        if sampling_steps < LATE:
            raise UsageError(f"`sampling_steps` must be at least {LATE} for the anisotropy, got {sampling_steps!r}.")
        return range(1)

    def terms(step: Seen) -> Mapping[str, Tensor]:
        late = step.timesteps[-LATE]
        pair = predict_pair(step.model, step.x_t, late, step.conditioning, None)
        alpha, sigma = step.model.schedule.at(late)
        u, c = (prediction_from_eps(eps, step.x_t, alpha, sigma, PredictionType(output)).double() for eps in pair)
        norm = torch.linalg.vector_norm(step.pull.double().flatten(1), dim=1)
        return {"norm": norm, "cosine": torch.nn.functional.cosine_similarity(u, c - u, dim=1).flatten(1).mean(1)}

    return Observation(
        at=first,
        observe=terms,
        formula=lambda arrays: (weights[0] * arrays["norm"] + weights[1] * arrays["cosine"]).mean(1),
        kept=once,
        extra=2,
    )


anisotropy_scores = anisotropy.scores
