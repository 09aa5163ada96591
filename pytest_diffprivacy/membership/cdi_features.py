"""CDI's features: the errors of all the attacks together, a row an image.

Raw errors, most of them lower for members. They carry no sign: the scorer of dataset inference
learns on control images which way each of them points. Predictions are shared: the noise predicted for the clean
image serves SecMI, PIA and PIAN, and each loss at z_t serves every feature that starts there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.membership.cdi import (
    DRAWS,
    OPTIMIZATION_STEPS,
    PIA_TIMESTEP,
    STEP,
    TIMESTEP,
    TIMESTEPS,
    WHITE_BOX,
    CdiSettings,
    affordable_features,
)
from pytest_diffprivacy.membership.pia import POWER
from pytest_diffprivacy.membership.pian import MEAN_SIZES
from pytest_diffprivacy.membership.secmi import secmi_grid
from pytest_diffprivacy.methods import Access, score_function
from pytest_diffprivacy.models.ddim import ddim_step
from pytest_diffprivacy.models.protocols import require_white_box
from pytest_diffprivacy.models.scoring import ImageBatch

MASKED = 0.2
VERSION = 1


@score_function(access=Access.GREY_BOX, called="CDI", noise="draws", what="the features are")
def cdi_features(
    batch: ImageBatch,
    *,
    features: Sequence[str] | None = None,
    timestep: int = TIMESTEP,
    pia_timestep: int = PIA_TIMESTEP,
    timesteps: Sequence[int] = TIMESTEPS,
    draws: int = DRAWS,
) -> Tensor:
    """Describe images by the errors of several attacks.

    loss: mean of `L(z_t, eps) = || eps - eps_theta(z_t, t) ||_2^2` over the draws; secmi: t-error; pia, pian: the l4
    norm of their error; multiple_loss: L at each of the times; gm_paper: the pixels M with the 20 % largest
    |grad_{z_t} L| are replaced by fresh noise e, `|| (e - z_t) M - eps_theta(e M + z_t (1 - M), t) M ||_2^2`;
    noise_optimization: the smallest `|| eps - eps_theta(z_t + d, t) ||_2^2` that 5 L-BFGS steps find, and || d ||_2^2.

    Args:
        model: grey-box access; white-box for gm_paper and noise_optimization, differentiable in x_t.
        features: families out of FAMILIES; None: all that the model's access allows.
        timestep: see CdiSettings, as for the next three.
        pia_timestep: of PIA and PIAN.
        timesteps: of the multiple loss and of gradient masking.
        draws: noise draws of the loss.
        noise: replaces the draws: (draws + 1, n, *model.sample_shape); the last one is gradient masking's.
        seed: seed of the draws; each image's noise also depends on its own digest. The first draw is shared by all
            timesteps and features.

    Returns:
        float64 (n, columns), named by `CdiSettings(...).names`: raw errors, most of them lower for members.

    Raises:
        UsageError: bad images, noise, timesteps or prompts.
        ModelError: a white-box feature is asked of a model that offers no derivatives.

    Source: Implements the features of Dubinski et al. 2025 (CDI), section 4.2, as METHODS 3.13 corrects them: each
    image's noise is optimized on its own, PIAN has the constant of its authors' code, and PIA and PIAN have p = 4.
    """
    wanted = affordable_features(batch.model) if features is None else tuple(features)
    chosen = CdiSettings(wanted, timestep, pia_timestep, tuple(timesteps), draws)
    if set(chosen.features) & set(WHITE_BOX):
        require_white_box(batch.model, "CDI's gradient masking and noise optimization")
    drawn = batch.noise(chosen.draws + 1)
    if len(drawn) != chosen.draws + 1:
        raise UsageError(f"`noise` must hold {chosen.draws + 1} draws, got {len(drawn)}.")
    return torch.stack(_Features(batch, drawn, chosen).columns(), dim=1)


class _Features:
    """The features of one batch; each prediction is made once."""

    def __init__(self, batch: ImageBatch, noise: Tensor, settings: CdiSettings) -> None:
        self._batch, self._model, self._x0 = batch, batch.model, batch.x0
        self._noise, self._settings = noise, settings
        self._t, self._times = batch.at(settings.timestep)[0], batch.times(settings.timesteps)
        self._losses: dict[int, tuple[Tensor, Tensor | None]] = {}

    def columns(self) -> list[Tensor]:
        """One float64 (batch,) a column, in the order of `settings.names`; what needs gradients comes first."""
        chosen = self._settings.features
        found: dict[str, list[Tensor]] = {}
        if "gm_paper" in chosen:
            found["gm_paper"] = [self._masked(t) for t in self._times]
        if "noise_optimization" in chosen:
            found["noise_optimization"] = self._optimized()
        if "multiple_loss" in chosen:
            found["multiple_loss"] = [self._loss(t)[0] for t in self._times]
        if "loss" in chosen:
            others = [self._error(self._t, eps) for eps in self._noise[1:-1]]
            found["loss"] = [torch.stack([self._loss(self._t)[0], *others]).mean(0)]
        if {"secmi", "pia", "pian"} & set(chosen):
            found |= self._from_clean()
        return [column for family in chosen for column in found[family]]

    def _predict(self, x_t: Tensor, t: int) -> Tensor:
        return self._batch.predict(x_t, t)

    def _noised(self, t: int, eps: Tensor) -> Tensor:
        alpha, sigma = self._model.schedule.at(t)
        return alpha * self._x0 + sigma * eps

    @torch.no_grad()
    def _error(self, t: int, eps: Tensor) -> Tensor:
        return _square(eps - self._predict(self._noised(t, eps), t))

    def _loss(self, t: int, *, gradient: bool = False) -> tuple[Tensor, Tensor | None]:
        """The loss at z_t with the first draw and, where a feature needs it, its gradient; made once."""
        if t not in self._losses:
            start = self._noise[0]
            self._losses[t] = (
                self._value_and_gradient(self._noised(t, start), t) if gradient else (self._error(t, start), None)
            )
        return self._losses[t]

    def _value_and_gradient(self, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Each image's error at x_t and its gradient: the sum's gradient holds every image's own."""
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            error = _square(self._noise[0] - self._predict(x, t))
            if not error.requires_grad:
                raise ModelError(
                    "CDI's gradient masking and noise optimization need `predict_eps` to be differentiable in x_t; it "
                    f"is not for {type(self._model).__name__}. Leave features {', '.join(WHITE_BOX)} out."
                )
            (gradient,) = torch.autograd.grad(error.sum(), x)
        return error.detach(), gradient

    @torch.no_grad()
    def _masked(self, t: int) -> Tensor:
        gradient = self._loss(t, gradient=True)[1]
        assert gradient is not None
        size = gradient.abs().flatten(1)
        kept = max(1, round(MASKED * size.shape[1]))
        mask = torch.zeros_like(size).scatter(1, size.topk(kept, dim=1).indices, 1.0).reshape(gradient.shape)
        z, fresh = self._noised(t, self._noise[0]), self._noise[-1]
        predicted = self._predict(fresh * mask + z * (1.0 - mask), t)
        return _square((fresh - z - predicted) * mask)

    def _optimized(self) -> list[Tensor]:
        value, gradient = self._loss(self._t, gradient=True)
        assert gradient is not None
        z = self._noised(self._t, self._noise[0])
        found = optimize_noise(
            lambda d: self._value_and_gradient(z + d, self._t), value, gradient, steps=OPTIMIZATION_STEPS
        )
        return [found.error, _square(found.perturbation)]

    @torch.no_grad()
    def _from_clean(self) -> dict[str, list[Tensor]]:
        """SecMI, PIA and PIAN, which all begin with the noise predicted for the clean image."""
        schedule, chosen = self._model.schedule, self._settings
        e0 = self._predict(self._x0, 0)
        found: dict[str, list[Tensor]] = {}
        if "secmi" in chosen.features:
            *path, above = secmi_grid(schedule, chosen.timestep, STEP)
            x, eps = self._x0, e0
            for source, target in pairwise(path):
                x = ddim_step(x, eps, schedule.at(source), schedule.at(target))
                eps = self._predict(x, target)
            here, there = schedule.at(path[-1]), schedule.at(above)
            up = ddim_step(x, eps, here, there)
            found["secmi"] = [_square(ddim_step(up, self._predict(up, above), there, here) - x)]
        t = schedule.match(chosen.pia_timestep).index
        if "pia" in chosen.features:
            found["pia"] = [self._proximal(e0, t)]
        if "pian" in chosen.features:
            mean = e0.abs().flatten(1).mean(1).reshape(-1, *(1,) * (e0.ndim - 1))
            found["pian"] = [self._proximal(MEAN_SIZES["code"] * e0 / mean, t)]
        return found

    def _proximal(self, e0: Tensor, t: int) -> Tensor:
        error = (e0 - self._predict(self._noised(t, e0), t)).double()
        return error.abs().pow(POWER).flatten(1).sum(1).pow(1.0 / POWER)


def _square(error: Tensor) -> Tensor:
    """Squared l2 norm of each row, float64."""
    return error.double().square().flatten(1).sum(1)


HISTORY = 5


@dataclass(frozen=True, slots=True)
class OptimizedNoise:
    """What L-BFGS found for each image.

    Attributes:
        error: float64 (n,), the smallest error.
        perturbation: (n, ...), the d at which it is.
    """

    error: Tensor
    perturbation: Tensor


@torch.no_grad()
def optimize_noise(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], value: Tensor, gradient: Tensor, *, steps: int
) -> OptimizedNoise:
    """Minimize each image's own error over a perturbation d that starts at 0.

    One evaluation a step. The first trial step has length min(1, 1 / |g|_1) along -g and the later ones the length of
    the L-BFGS direction. A step that would not lower the error is not taken, and the next is half as long.

    Args:
        evaluate: d (n, ...) -> errors (n,) and their gradients (n, ...), row i a function of d[i] alone.
        value: errors at d = 0.
        gradient: gradients at d = 0.
        steps: how many trial steps.

    Returns:
        The smallest errors met and where; never larger than at d = 0.

    Source: Implements L-BFGS (Nocedal 1980, two-loop recursion); the safeguard is ours. Dubinski et al. 2025 (CDI),
    section 4.2, take 5 steps; their code minimizes the mean of a batch instead.
    """
    shape = gradient.shape
    best, slope = value.double(), gradient.double().flatten(1)
    at = torch.zeros_like(slope)
    history: list[tuple[Tensor, Tensor, Tensor]] = []  # (moves, changes of slope, 1 / product or 0 if unusable)
    shrink = torch.ones_like(best)
    moved = torch.zeros_like(best, dtype=torch.bool)
    for _ in range(steps):
        direction = -_times_inverse_hessian(slope, history)
        first = (1.0 / slope.abs().sum(1).clamp_min(1e-300)).clamp_max(1.0)
        length = shrink * torch.where(moved, torch.ones_like(first), first)
        trial = at + length[:, None] * direction
        errors, slopes = evaluate(trial.reshape(shape).to(gradient.dtype))
        errors, slopes = errors.double(), slopes.double().flatten(1)
        taken = errors < best  # False for NaN
        change, move = slopes - slope, trial - at
        product = (change * move).sum(1)
        usable = taken & (product > 1e-12 * change.norm(dim=1) * move.norm(dim=1))
        weight = torch.where(usable, 1.0 / torch.where(usable, product, 1.0), 0.0)
        history = [*history, (_rows(usable, move), _rows(usable, change), weight)][-HISTORY:]
        at, slope = torch.where(taken[:, None], trial, at), torch.where(taken[:, None], slopes, slope)
        best = torch.where(taken, errors, best)
        shrink = torch.where(taken, 1.0, shrink / 2.0)
        moved |= usable
    return OptimizedNoise(best, at.reshape(shape))


def _times_inverse_hessian(slope: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """L-BFGS's estimate of H^-1 slope, each row with its own history; pairs of weight 0 have no effect."""
    direction, shares = slope, []
    for move, change, weight in reversed(history):
        share = weight * (move * direction).sum(1)
        direction = direction - share[:, None] * change
        shares.append(share)
    scale = torch.ones_like(slope[:, 0])
    for _, change, weight in history:  # the latest usable pair decides
        square = (change * change).sum(1)
        scale = torch.where(weight > 0, 1.0 / (weight * square).clamp_min(1e-300), scale)
    direction = scale[:, None] * direction
    for (move, change, weight), share in zip(history, reversed(shares), strict=True):
        direction = direction + (share - weight * (change * direction).sum(1))[:, None] * move
    return direction


def _rows(keep: Tensor, values: Tensor) -> Tensor:
    """Rows that are kept; the others become 0, even where they are not finite."""
    return torch.where(keep[:, None], values, 0.0)
