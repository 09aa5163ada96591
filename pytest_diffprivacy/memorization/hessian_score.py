"""Hessian-weighted score difference: is the landscape sharp where the prompt pulls?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.engine.batches import is_out_of_memory
from pytest_diffprivacy.errors import DerivativeFallback, ModelError, UsageError
from pytest_diffprivacy.memorization.detector import Arrays, Detector, Needs, Scores, Seen
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, detector_scores
from pytest_diffprivacy.memorization.score_difference import check_first_steps
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.guidance import predict_pair
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_white_box
from pytest_diffprivacy.statistics.arguments import check_finite

Derivative = Literal["central", "forward"]
STEPS = 1
CHANGES = {torch.float32: 5e-4, torch.float64: 1e-4}


def hessian_score_scores(
    model: object,
    prompts: Sequence[str],
    *,
    latents: Tensor | NDArray[Any] | None = None,
    images_per_prompt: int = 4,
    steps: int = STEPS,
    squared: bool = False,
    derivative: Derivative = "central",
    change: float | None = None,
    sampling_steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score prompts by `|| H_Delta s_Delta ||_2` at the first steps, averaged over them and then over images.

    `s_Delta = s(x, c) - s(x) = -(eps_c - eps_u) / sigma_t`, and `H_Delta` is its Jacobian, which need not be symmetric:
    the product is H v, never H^T v. Around a memorized image the conditional landscape is sharp, and the product weighs
    the pull of the prompt by the sharpness in its direction.

    Args:
        model: grey-box access to a text-to-image model; white-box access for derivative="forward".
        prompts: texts, none of them empty.
        latents: x_T, (prompts, images, *model.sample_shape); None: drawn from the seed and each prompt.
        images_per_prompt: images a prompt; the latents' own if they are given.
        steps: how many of the first sampling steps are scored.
        squared: the paper's squared norm; the authors' code and table take the norm itself.
        derivative: "central" for (s_Delta(x + h v) - s_Delta(x - h v)) / 2h, three evaluations of both branches;
            "forward" for forward-mode differentiation, exact and dearer. A network without forward derivative falls
            back to central differences, with a warning.
        change: RMS change of x in a central difference; None: the precision's own.
        sampling_steps: DDIM steps of a whole walk.
        guidance_scale: moves x_t from the second step on.
        seed: of x_T.
        batch_size: images in one network call.

    Returns:
        float64 (prompts,), higher = memorized. The score of a v-model is its true score.

    Raises:
        UsageError: empty prompts, or latents, steps or other arguments that do not fit.
        ModelError: the model takes no texts, offers less access, or runs in half precision where differences are taken.
        AuditError: the model's output is not finite.

    Warns:
        DerivativeFallback: the network has no forward derivative.

    Source: Implements Jeon et al. 2025, Eq. 8, except that central differences stand in for the product by default and
        that a v-model's prediction is converted to the score (METHODS 4.2).
    """
    return detector_scores(
        HESSIAN_SCORE, model, prompts, Sampling(images_per_prompt, sampling_steps, guidance_scale, seed),
        latents=latents, batch_size=batch_size, steps=steps, squared=squared, derivative=derivative, change=change,
    )  # fmt: skip


def hessian_score_difference(
    model: PromptedDenoiser,
    x_t: Tensor,
    timestep: int,
    conditioning: Conditioning,
    s_delta: Tensor,
    *,
    derivative: Derivative = "central",
    change: float | Tensor | None = None,
) -> Tensor:
    """H_Delta s_Delta at x_t, same shape.

    Args:
        model: grey-box access; white-box for derivative="forward".
        x_t: (rows, *model.sample_shape).
        timestep: the model's own.
        conditioning: of the prompts, a row each.
        s_delta: -(eps_c - eps_u) / sigma at x_t.
        derivative: "central" or "forward".
        change: RMS change of x in a central difference, one for all or (rows,); None: the precision's own.

    Raises:
        ModelError: less access than needed, or half precision.

    Source: Implements the product of Jeon et al. 2025, Eq. 8 (METHODS 4.2).
    """
    sigma = model.schedule.at(timestep)[1]
    if derivative == "forward":
        blank = model.condition(None, len(x_t))
        assert blank is not None, "a text-to-image model has an unconditional branch"
        both = Conditioning.joined([blank, conditioning])
        white = require_white_box(model, "The forward derivative of the score difference")
        _, product = white.eps_jvp(torch.cat([x_t, x_t]), timestep, torch.cat([s_delta, s_delta]), both)
        eps_u, eps_c = product.chunk(2)
        return -(eps_c - eps_u) / sigma
    h = _step(s_delta, default_change(model.dtype) if change is None else change)
    ahead_u, ahead_c = predict_pair(model, x_t + h * s_delta, timestep, conditioning, None)
    behind_u, behind_c = predict_pair(model, x_t - h * s_delta, timestep, conditioning, None)
    return ((behind_c - behind_u) - (ahead_c - ahead_u)) / (2.0 * h * sigma)


def default_change(dtype: torch.dtype) -> float:
    """RMS change of x that balances truncation and rounding in this precision.

    Raises:
        ModelError: half precision, in which a difference of two predictions is rounding.
    """
    if dtype not in CHANGES:
        raise ModelError(
            f"Finite differences need float32 or float64, got a model in {str(dtype).removeprefix('torch.')}. Load it "
            'with dtype="float32", or take derivative="forward".'
        )
    return CHANGES[dtype]


def _step(s_delta: Tensor, change: float | Tensor) -> Tensor:
    """H of each row, (rows, 1, ...), such that h * s_delta has RMS `change`; 1 where the direction is zero."""
    rms = s_delta.double().flatten(1).square().mean(1).sqrt()
    moved = torch.as_tensor(change, dtype=torch.float64, device=rms.device)
    h = torch.where(rms > 0, moved / rms.clamp_min(torch.finfo(torch.float64).tiny), 1.0)
    return h.to(s_delta.dtype).reshape(-1, *[1] * (s_delta.ndim - 1))


@final
class _Products:
    """Norms (rows, steps); the RMS change behind them, 0 for forward mode; how much half of it moves the first row."""

    def __init__(self, derivative: Derivative, change: float | None) -> None:
        self._derivative: Derivative = derivative
        self._change = change
        self._norms, self._changes, self._moved = list[Tensor](), list[float](), list[float]()

    def see(self, step: Seen) -> None:
        s_delta = -(step.eps_c - step.eps_u) / step.model.schedule.at(step.timestep)[1]
        if self._derivative == "forward":
            try:
                norms = self._product(step, step.x_t, s_delta, step.conditioning, "forward", None)
            except (RuntimeError, NotImplementedError) as error:
                if is_out_of_memory(error):  # a smaller batch cures that, and the derivative exists
                    raise
                if step.model.dtype not in CHANGES:
                    raise ModelError(
                        f"{step.model.identity.name} has no forward derivative ({str(error).splitlines()[0]}), and in "
                        f"{str(step.model.dtype).removeprefix('torch.')} central differences are rounding. Load it "
                        'with dtype="float32".'
                    ) from error
                warnings.warn(
                    f"{step.model.identity.name} has no forward derivative ({str(error).splitlines()[0]}): central "
                    "differences are taken instead.",
                    DerivativeFallback,
                    stacklevel=2,
                )
                self._derivative = "central"
            else:
                self._keep(norms, 0.0, 0.0)
                return
        change = self._change or default_change(step.model.dtype)
        # The first image rides along once more at half the step: an estimate of the error for one row of the batch.
        changes = torch.full((len(s_delta) + 1,), change, dtype=torch.float64)
        changes[-1] /= 2.0
        x_t, direction = torch.cat([step.x_t, step.x_t[:1]]), torch.cat([s_delta, s_delta[:1]])
        told = Conditioning.joined([step.conditioning, step.conditioning.rows(slice(0, 1))])
        norms = self._product(step, x_t, direction, told, "central", changes)
        first, half = norms[0], norms[-1]
        self._keep(norms[:-1], change, float((half / first - 1.0).abs()) if first > 0 else 0.0)

    def _product(
        self,
        step: Seen,
        x_t: Tensor,
        s_delta: Tensor,
        conditioning: Conditioning,
        derivative: Derivative,
        change: Tensor | None,
    ) -> Tensor:
        product = hessian_score_difference(
            step.model, x_t, step.timestep, conditioning, s_delta, derivative=derivative, change=change
        )
        norms: Tensor = torch.linalg.vector_norm(product.double().flatten(1), dim=1)
        return norms

    def _keep(self, norms: Tensor, change: float, moved: float) -> None:
        self._norms.append(norms)
        self._changes.append(change)
        self._moved.append(moved)

    def arrays(self) -> Arrays:
        norms = torch.stack(self._norms, 1).cpu().numpy()
        rows = len(norms)
        return {
            "norms": norms,
            "change": np.tile(self._changes, (rows, 1)),
            "moved_by_half": np.tile(self._moved, (rows, 1)),
        }


def _needs(sampling_steps: int, *, steps: int, squared: bool, derivative: Derivative, change: float | None) -> Needs:
    check_first_steps(sampling_steps, steps)
    if derivative not in get_args(Derivative):
        raise UsageError(f"`derivative` must be 'central' or 'forward', got {derivative!r}.")
    if change is not None and not check_finite("change", change) > 0.0:
        raise UsageError(f"`change` must be above 0, got {change!r}. It is the RMS change of x.")
    return Needs(steps)


def _scores(arrays: Arrays, *, steps: int, squared: bool, derivative: Derivative, change: float | None) -> Scores:
    norms = arrays["norms"]
    return np.asarray((norms**2 if squared else norms).mean((1, 2)))


def _observer(*, steps: int, squared: bool, derivative: Derivative, change: float | None) -> _Products:
    return _Products(derivative, change)


def _evaluations(
    sampling_steps: int, *, steps: int, squared: bool, derivative: Derivative, change: float | None
) -> int:
    """Rows of the walk and of two more evaluations; forward mode carries its derivative in one."""
    return 2 * steps * (3 if derivative == "central" else 2)


HESSIAN_SCORE = Detector(
    name="hessian_score",
    title="Hessian-weighted score difference",
    access="grey box",
    source="Jeon et al. 2025, Eq. 8; the norm itself as in the authors' code",
    needs=_needs,
    observer=_observer,
    scores=_scores,
    defaults={"steps": STEPS, "squared": False, "derivative": "central", "change": None},
    version=2,
    evaluations=_evaluations,
)
