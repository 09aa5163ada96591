"""SAIL: start noise at which the prompt's landscape is not sharp, found by gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Difference,
    Mitigated,
    Mitigation,
    SamplingCost,
    check_settings,
    eps_difference,
    first_timestep,
    mitigation,
    prompt_conditioning,
    sample_images,
    seeded_noise,
)
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted


@dataclass(frozen=True, slots=True)
class StartNoise:
    """Start noise that a search found.

    Attributes:
        x_T: (n, *shape).
        objective: float64 (n,), its value where each was accepted, or the best value found.
        accepted: bool (n,), whether the objective fell to the threshold.
        updates: gradient steps of the longest search.
        restarts: how often the search began again.
        evaluations: images through the network, forward.
        backward: images through the network, backward.
    """

    x_T: Tensor
    objective: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    updates: int
    restarts: int
    evaluations: int
    backward: int


def sharpness_objective(difference: Difference, x: Tensor, *, delta: float, alpha: float) -> Tensor:
    """The paper's objective for each x: `|| s_D(x + delta s/||s||) - s_D(x) ||^2 + alpha || x ||^2`, (n,).

    s_D(x) = s(x | prompt) - s(x) is the difference.

    Source: Implements Jeon et al. 2025, Algorithm 2 (METHODS 5.1).
    """
    s = difference(x)
    moved = difference(x + delta * unit(s))
    return norms(moved - s) ** 2 + alpha * norms(x) ** 2


@mitigation("sail", "SAIL", access=Access.WHITE_BOX, source="Jeon et al. 2025, Algorithm 2", version=1)
@final
@dataclass(frozen=True, slots=True)
class Sail(Mitigation):
    """SAIL as the paper writes it: each seed's noise is moved to where the objective is at most the threshold.

    Args:
        delta: length of the finite difference along s_D; not stated in the paper.
        alpha: weight of the prior `|| x ||^2`.
        threshold: the objective that is enough. The published thresholds belong to the released code (SailReference).
        lr: of Adam.
        max_steps: gradient steps an image at the most.

    Source: Implements Jeon et al. 2025, Algorithm 2 (METHODS 5.1, paper mode).
    """

    delta: float
    alpha: float
    threshold: float
    lr: float = 0.05
    max_steps: int = 10

    def __post_init__(self) -> None:
        check_settings(self, positive=("delta", "threshold", "lr"), finite=("alpha",), counts={"max_steps": 1})

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt; image i depends on seeds[i] alone."""
        denoiser = require_prompted(model, "SAIL")
        conditioning = prompt_conditioning(denoiser, [prompt])
        t = first_timestep(denoiser, sampling)
        sigma = denoiser.schedule.at(t)[1]
        eps = eps_difference(denoiser, t, conditioning)
        noise = self.search(lambda x: -eps(x) / sigma, seeded_noise(denoiser, seeds))
        return sample_from(denoiser, noise, prompt, sampling)

    def search(self, difference: Difference, x_T: Tensor) -> StartNoise:
        """Descend from each x_T on its own until its objective is at most the threshold, or the budget is used up.

        Noise that passes at once is returned as it is; noise that never passes, at its best point.

        Args:
            difference: x -> s_D(x), differentiable.
            x_T: (n, *shape).
        """
        points = [x.clone().requires_grad_(True) for x in x_T]
        optimizer = torch.optim.Adam(points, lr=self.lr)
        best, values = x_T.clone(), np.full(len(x_T), np.inf)
        active, updates, evaluations, backward = list(range(len(points))), 0, 0, 0
        while True:
            objective = sharpness_objective(
                difference, torch.stack([points[i] for i in active]), delta=self.delta, alpha=self.alpha
            )
            evaluations += 4 * len(active)
            for i, value in zip(active, objective.detach().double().tolist(), strict=True):
                if value < values[i]:
                    best[i], values[i] = points[i].detach(), value
            active_before, active = active, [i for i in active if not values[i] <= self.threshold]
            if not active or updates == self.max_steps:
                break
            left = torch.tensor([i in set(active) for i in active_before], device=objective.device)
            optimizer.zero_grad(set_to_none=True)  # Adam leaves alone what has no gradient
            objective[left].sum().backward()  # type: ignore[no-untyped-call]
            backward += 4 * len(active_before)
            for i in set(active_before) - set(active):
                points[i].grad = None
            optimizer.step()
            updates += 1
        return StartNoise(best, values, values <= self.threshold, updates, 0, evaluations, backward)


def sample_from(model: PromptedDenoiser, noise: StartNoise, prompt: str, sampling: DdimSampling) -> Mitigated:
    """The images of a prompt from the noise that a search found, and what both cost."""
    images = sample_images(model, noise.x_T, prompt_conditioning(model, [prompt] * len(noise.x_T)), sampling)
    search = SamplingCost(noise.evaluations, noise.backward, noise.restarts, int((~noise.accepted).sum()))
    return Mitigated(images.images, search + images.cost)


def norms(x: Tensor) -> Tensor:
    """Euclidean norm of each row: (n,)."""
    found: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return found


def unit(x: Tensor) -> Tensor:
    """Each row divided by its norm."""
    return x / norms(x).reshape(-1, *[1] * (x.ndim - 1))
