"""Landscape while an image is sampled: spectra at both ends, and norms against traces on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.ddim import ddim_step, guided_ddim
from pytest_diffprivacy.models.protocols import Denoiser, Prompt, WhiteBoxDenoiser
from pytest_diffprivacy.sharpness.hessian import ScoreHessian, Spectrum, full_matrix, full_spectrum
from pytest_diffprivacy.sharpness.krylov import hutchinson_trace
from pytest_diffprivacy.sharpness.landscape import hessian_score_product


@dataclass(frozen=True, slots=True)
class SamplingSpectra:
    """The spectrum of H where sampling starts and where it takes its last step.

    Attributes:
        start: at the first visited timestep.
        end: at the last visited timestep.
        timesteps: both timesteps.
    """

    start: Spectrum
    end: Spectrum
    timesteps: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TrajectoryMoments:
    """Norms of the score and of its Hessian product beside the traces that they equal in expectation.

    In expectation over the density `|| s ||^2 = -tr H`, and for one Gaussian `|| H s ||^2 = -tr H^3`.

    Attributes:
        timesteps: visited timesteps, noisy first.
        score_squared: float64 (timesteps, images), `|| s ||^2`.
        minus_trace: float64 (timesteps, images), `-tr H`.
        product_squared: float64 (timesteps, images), `|| H s ||^2`.
        minus_cubed_trace: float64 (timesteps, images), `-tr H^3`.
        trace_error: float64 (timesteps, images), standard error of `minus_trace`; 0 where it is exact.
        cubed_trace_error: the same of `minus_cubed_trace`.
    """

    timesteps: tuple[int, ...]
    score_squared: NDArray[np.float64]
    minus_trace: NDArray[np.float64]
    product_squared: NDArray[np.float64]
    minus_cubed_trace: NDArray[np.float64]
    trace_error: NDArray[np.float64]
    cubed_trace_error: NDArray[np.float64]


def sampling_spectra(
    model: WhiteBoxDenoiser,
    x_T: Tensor,
    *,
    steps: int = 50,
    prompt: Prompt | None = None,
    guidance_scale: float = 1.0,
    minus_unconditional: bool = False,
) -> SamplingSpectra:
    """The exact spectra at the first and the last step of deterministic sampling from one x_T.

    Memorization shows in the spectrum from the first step on: before there is an image.

    Args:
        model: white-box access; the dimension at most 4,096.
        x_T: start noise of the model's sample_shape.
        steps: sampling steps.
        prompt: condition of sampling and score; None: the unconditional branch.
        guidance_scale: of classifier-free guidance towards the prompt while sampling; it moves x_t, not H.
        minus_unconditional: the spectrum of H_Delta = H(x | prompt) - H(x) instead of H(x | prompt).

    Raises:
        UsageError: another shape, steps outside 1..T, or too large a model (use ScoreHessian with lanczos).
        AuditError: the model's derivative is not finite.

    Source: Follows Jeon et al. 2025, section 3 and Figure 4 (METHODS 4.3).
    """
    prompts = None if prompt is None else [prompt]
    states = list(sampling_states(model, x_T[None], steps=steps, prompts=prompts, guidance_scale=guidance_scale))
    (first, x_first), (last, x_last) = states[0], states[-1]
    start, end = (
        full_spectrum(ScoreHessian(model, x[0], t, prompt=prompt, minus_unconditional=minus_unconditional))
        for t, x in ((first, x_first), (last, x_last))
    )
    return SamplingSpectra(start, end, (first, last))


def trajectory_moments(
    model: WhiteBoxDenoiser,
    x_T: Tensor,
    *,
    steps: int = 50,
    every: int = 1,
    prompts: Sequence[Prompt] | None = None,
    guidance_scale: float = 1.0,
    probes: int | None = None,
    seed: int = 0,
) -> TrajectoryMoments:
    """`|| s ||^2` against `-tr H`, and `|| H s ||^2` against `-tr H^3`, along deterministic sampling.

    Args:
        model: white-box access.
        x_T: start noise (n, *model.sample_shape).
        steps: sampling steps.
        every: measure at every so manyeth of them, the first included.
        prompts: one prompt an image for conditional models; None is the unconditional branch.
        guidance_scale: of classifier-free guidance towards the prompts while sampling; it moves x_t, not s or H.
        probes: random vectors for Hutchinson's traces; None: exact traces from d forward-mode products a point.
        seed: of the probes.

    Raises:
        UsageError: x_T has the wrong shape, or steps, every or probes are out of range.
        AuditError: the model's derivative is not finite.

    Source: Implements the check of Jeon et al. 2025, section 4 (METHODS 8.3 and T3).
    """
    if every < 1:
        raise UsageError(f"`every` must be at least 1, got {every!r}.")
    timesteps, rows = [], []
    condition = model.condition(prompts, len(x_T))
    states = sampling_states(model, x_T, steps=steps, prompts=prompts, guidance_scale=guidance_scale)
    for step, (t, x) in enumerate(states):
        if step % every:
            continue
        s, product = hessian_score_product(model, x, t, condition)
        norms = [v.double().flatten(1).square().sum(1).cpu().numpy() for v in (s, product)]
        traces = [
            _traces(ScoreHessian(model, point, t, prompt=None if prompts is None else prompts[i]), probes, seed)
            for i, point in enumerate(x)
        ]
        timesteps.append(t)
        rows.append(np.stack([*norms, *np.asarray(traces).T]))
    score, product_, trace, cubed, trace_error, cubed_error = np.stack(rows, axis=1)
    return TrajectoryMoments(tuple(timesteps), score, trace, product_, cubed, trace_error, cubed_error)


@torch.no_grad()
def sampling_states(
    model: Denoiser,
    x_T: Tensor,
    *,
    steps: int,
    prompts: Sequence[Prompt] | None = None,
    guidance_scale: float = 1.0,
) -> Iterator[tuple[int, Tensor]]:
    """The points (timestep, x_t) at which deterministic sampling asks the model, noisy first."""
    if tuple(x_T.shape[1:]) != model.sample_shape:
        raise UsageError(f"`x_T` must have shape (n, {model.sample_shape}), got {tuple(x_T.shape)}.")
    condition = model.condition(prompts, len(x_T))
    if guidance_scale != 1.0:
        if prompts is None or condition is None:
            raise UsageError(f"`guidance_scale` must be 1.0 without prompts, got {guidance_scale!r}.")
        for step in guided_ddim(model, x_T, condition, steps=steps, guidance_scale=guidance_scale):
            yield step.timestep, step.x_t
        return
    x = x_T.to(device=model.device, dtype=model.dtype)
    for t, point, target in model.schedule.sampling_path(steps):
        yield t, x
        x = ddim_step(x, model.predict_eps(x, t, condition), point, target)


def _traces(hessian: ScoreHessian, probes: int | None, seed: int) -> tuple[float, float, float, float]:
    """(-tr H, -tr H^3, and the standard error of each)."""
    if probes is None:
        matrix = full_matrix(hessian)
        return -float(np.trace(matrix)), -float(np.trace(matrix @ matrix @ matrix)), 0.0, 0.0
    first = hutchinson_trace(hessian, probes=probes, seed=seed)
    third = hutchinson_trace(hessian, probes=probes, seed=seed, power=3)
    return -first.value, -third.value, first.standard_error, third.standard_error
