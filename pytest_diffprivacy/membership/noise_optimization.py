"""CDI's noise optimization: how little a noised image must move until the model predicts its noise.

L-BFGS for many images at once, each with its own history, step length and decision, so that no image's result
depends on those it shares a batch with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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
