"""Anisotropy: does the prompt pull along the direction in which the model would denoise pure noise anyway?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.detector import Arrays, Detector, Needs, Scores, Seen
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, detector_scores
from pytest_diffprivacy.models.guidance import predict_pair
from pytest_diffprivacy.models.prediction import PredictionType, prediction_from_eps

LATE = 3
WEIGHTS = (1.0, 2.0)


def anisotropy_scores(
    model: object,
    prompts: Sequence[str],
    *,
    latents: Tensor | NDArray[Any] | None = None,
    images_per_prompt: int = 4,
    weights: tuple[float, float] = WEIGHTS,
    output: PredictionType = PredictionType.EPS,
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score prompts by `g1 || eps_c - eps_u || + g2 mean_positions cos(u', c' - u')`, averaged over images.

    The norm is that of the first step. The cosine, over channels, is taken at the same pure noise but at the third last
    timestep of the walk: there a memorized prompt pulls along the unconditional prediction. Four network rows an image.

    Args:
        model: grey-box access to a text-to-image model.
        prompts: texts, none of them empty.
        latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
        images_per_prompt: images a prompt; the latents' own if they are given.
        weights: (g1, g2), set by hand for each model in the paper: (1, 2) for SD 1.4, (1, 0.1) for SD 2.
        output: in which form u' and c' are compared; the authors take the network's raw output, so "v_prediction" for
            a v-model. Eps by default, which does not depend on how the model was trained.
        sampling_steps: DDIM steps of a whole walk, which fix both timesteps; at least 3.
        guidance_scale: of no effect at the first step.
        seed: of x_T.
        batch_size: images in one network call.

    Returns:
        float64 (prompts,), higher = memorized.

    Raises:
        UsageError: empty prompts, or latents, weights or steps that do not fit.
        ModelError: the model takes no texts.
        AuditError: the model's output is not finite.

    Source: Implements Asthana and Belagiannis 2026, except that the norm of a v-model is that of its eps (METHODS 4.8).
    """
    return detector_scores(
        ANISOTROPY, model, prompts, Sampling(images_per_prompt, sampling_steps, guidance_scale, seed),
        latents=latents, batch_size=batch_size, weights=weights, output=output,
    )  # fmt: skip


@final
class _Terms:
    """Norm and cosine, (rows,) each."""

    def __init__(self, output: PredictionType) -> None:
        self._output = PredictionType(output)
        self._norm: Tensor | None = None
        self._cosine: Tensor | None = None

    def see(self, step: Seen) -> None:
        late = step.timesteps[-LATE]
        pair = predict_pair(step.model, step.x_t, late, step.conditioning, None)
        alpha, sigma = step.model.schedule.at(late)
        u, c = (prediction_from_eps(eps, step.x_t, alpha, sigma, self._output).double() for eps in pair)
        self._norm = torch.linalg.vector_norm((step.eps_c - step.eps_u).double().flatten(1), dim=1)
        self._cosine = torch.nn.functional.cosine_similarity(u, c - u, dim=1).flatten(1).mean(1)

    def arrays(self) -> Arrays:
        assert self._norm is not None
        assert self._cosine is not None
        return {"norm": self._norm.cpu().numpy(), "cosine": self._cosine.cpu().numpy()}


def _needs(sampling_steps: int, *, weights: tuple[float, float], output: PredictionType) -> Needs:
    if sampling_steps < LATE:
        raise UsageError(f"`sampling_steps` must be at least {LATE} for the anisotropy, got {sampling_steps!r}.")
    given = np.asarray(weights)
    if given.shape != (2,) or given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise UsageError(f"`weights` must be two finite numbers, got {weights!r}.")
    if output not in list(PredictionType):
        raise UsageError(f"`output` must be one of {', '.join(PredictionType)}, got {output!r}.")
    return Needs(1)


def _scores(arrays: Arrays, *, weights: tuple[float, float], output: PredictionType) -> Scores:
    return np.asarray((weights[0] * arrays["norm"] + weights[1] * arrays["cosine"]).mean(1))


def _observer(*, weights: tuple[float, float], output: PredictionType) -> _Terms:
    return _Terms(output)


def _evaluations(sampling_steps: int, *, weights: tuple[float, float], output: PredictionType) -> int:
    return 4


ANISOTROPY = Detector(
    name="anisotropy",
    title="Anisotropy of the log density",
    access="grey box",
    source="Asthana and Belagiannis 2026",
    needs=_needs,
    observer=_observer,
    scores=_scores,
    defaults={"weights": WEIGHTS, "output": PredictionType.EPS},
    version=1,
    evaluations=_evaluations,
)
