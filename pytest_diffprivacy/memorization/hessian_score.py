"""Hessian-weighted score difference: how sharp the landscape is where the prompt pulls."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal, final, get_args

import torch
from torch import Tensor

from pytest_diffprivacy.engine.batches import is_out_of_memory
from pytest_diffprivacy.errors import DerivativeFallback, ModelError, UsageError
from pytest_diffprivacy.memorization.detector import detector
from pytest_diffprivacy.memorization.observation import Observation, Seen, first_steps
from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import predict_pair
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_white_box
from pytest_diffprivacy.statistics.arguments import check_finite

Derivative = Literal["central", "forward"]
CHANGES = {torch.float32: 5e-4, torch.float64: 1e-4}


@detector(
    title="Hessian-weighted score difference",
    access=Access.GREY_BOX,
    source="Jeon et al. 2025, Eq. 8; the norm itself as in the authors' code",
    version=2,
)
def hessian_score(
    *, steps: int = 1, squared: bool = False, derivative: Derivative = "central", change: float | None = None
) -> Observation:
    """Score prompts by `|| H_Delta s_Delta ||_2` at the first steps, averaged over them and then over images.

    `s_Delta = s(x, c) - s(x) = -(eps_c - eps_u) / sigma_t`, and `H_Delta` is its Jacobian, which need not be symmetric:
    the product is H v, never H^T v. Around a memorized image the conditional landscape is sharp, and the product weighs
    the pull of the prompt by the sharpness in its direction. The score of a v-model is its true score.

    Args:
        steps: how many of the first sampling steps are scored.
        squared: the paper's squared norm; the authors' code and table take the norm itself.
        derivative: "central" for (s_Delta(x + h v) - s_Delta(x - h v)) / 2h, three evaluations of both branches;
            "forward" for forward-mode differentiation, exact and dearer, which needs white-box access. A network
            without forward derivative falls back to central differences, with a warning.
        change: RMS change of x in a central difference; None: the precision's own.

    Raises:
        ModelError: the model takes no texts, offers less access, or runs in half precision where differences are taken.

    Warns:
        DerivativeFallback: the network has no forward derivative.

    Source: Implements Jeon et al. 2025, Eq. 8, except that central differences stand in for the product by default and
        that a v-model's prediction is converted to the score (METHODS 4.2).
    """
    if derivative not in get_args(Derivative):
        raise UsageError(f"`derivative` must be 'central' or 'forward', got {derivative!r}.")
    if change is not None and not check_finite("change", change) > 0.0:
        raise UsageError(f"`change` must be above 0, got {change!r}. It is the RMS change of x.")
    return Observation(
        at=first_steps(steps),
        observe=_Products(derivative, change),
        formula=lambda arrays: (arrays["norms"] ** 2 if squared else arrays["norms"]).mean((1, 2)),
        extra=4 if derivative == "central" else 2,
    )


hessian_score_scores = hessian_score.scores


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
    """H_Delta s_Delta at x_t, same shape, s_delta being -(eps_c - eps_u) / sigma there and `change` one or (rows,).

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
    """RMS change of x that balances truncation and rounding; in half precision a difference would be rounding."""
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
    """Norms (rows,); the RMS change behind them, 0 for forward mode; how much half of it moves the first row."""

    def __init__(self, derivative: Derivative, change: float | None) -> None:
        self._derivative: Derivative = derivative
        self._change = change

    def __call__(self, step: Seen) -> Mapping[str, Tensor]:
        s_delta = -step.pull / step.model.schedule.at(step.timestep)[1]
        if self._derivative == "forward":
            try:
                product = hessian_score_difference(
                    step.model, step.x_t, step.timestep, step.conditioning, s_delta, derivative="forward"
                )
                return _kept(_norms(product), 0.0, 0.0)
            except (RuntimeError, NotImplementedError) as error:
                if is_out_of_memory(error):  # a smaller batch cures that, and the derivative exists
                    raise
                _fall_back(step.model, error)
                self._derivative = "central"
        change = self._change or default_change(step.model.dtype)
        # The first image rides along once more at half the step: an estimate of the error for one row of the batch.
        changes = torch.full((len(s_delta) + 1,), change, dtype=torch.float64)
        changes[-1] /= 2.0
        x_t, direction = torch.cat([step.x_t, step.x_t[:1]]), torch.cat([s_delta, s_delta[:1]])
        conditioning = Conditioning.joined([step.conditioning, step.conditioning.rows(slice(0, 1))])
        norms = _norms(
            hessian_score_difference(step.model, x_t, step.timestep, conditioning, direction, change=changes)
        )
        first, half = norms[0], norms[-1]
        return _kept(norms[:-1], change, float((half / first - 1.0).abs()) if first > 0 else 0.0)


def _fall_back(model: PromptedDenoiser, error: Exception) -> None:
    """Say that central differences stand in for the forward derivative, where this precision allows them."""
    reason = str(error).splitlines()[0]
    if model.dtype not in CHANGES:
        raise ModelError(
            f"{model.identity.name} has no forward derivative ({reason}), and in "
            f"{str(model.dtype).removeprefix('torch.')} central differences are rounding. Load it with "
            'dtype="float32".'
        ) from error
    warnings.warn(
        f"{model.identity.name} has no forward derivative ({reason}): central differences are taken instead.",
        DerivativeFallback,
        stacklevel=3,
    )


def _norms(product: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(product.double().flatten(1), dim=1)
    return norms


def _kept(norms: Tensor, change: float, moved: float) -> Mapping[str, Tensor]:
    return {
        "norms": norms,
        "change": torch.full_like(norms, change),
        "moved_by_half": torch.full_like(norms, moved),
    }
