"""SAIL as released: the search of the authors' code, slips included, so that its start noise is reproduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Difference,
    Mitigated,
    Mitigation,
    check_settings,
    eps_difference,
    first_timestep,
    mitigation,
    prompt_conditioning,
    seeded_noise,
)
from pytest_diffprivacy.mitigation.sail import StartNoise, norms, sample_from, unit
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_prompted

ATTEMPTS_PER_DRAW: Final = 3
EASIER: Final = 0.1
SPARE_SEED: Final = 2**48
REFERENCE_THRESHOLD: Final = 8.2


def reference_objective(difference: Difference, x: Tensor, base: Tensor, *, alpha: float) -> Tensor:
    """The released code's objective for each x: `|| D(x + D(base)/||D(base)||) ||_2 + alpha || x ||_2`, (n,).

    The gradient is taken at x. The released code leaves the base, where the direction is evaluated, at the initial
    noise, while the direction's gradient is added as if it had been taken at x.

    Source: Implements what the code released with Jeon et al. 2025 computes (METHODS 5.1).
    """
    stale = base.detach() + (x - x.detach())
    return norms(difference(x + unit(difference(stale)))) + alpha * norms(x)


@mitigation(
    "sail-reference",
    "SAIL (released code)",
    access=Access.WHITE_BOX,
    source="code released with Jeon et al. 2025",
    version=1,
)
@final
@dataclass(frozen=True, slots=True)
class SailReference(Mitigation):
    """SAIL as the released code runs it, slips included; its images depend on all seeds together.

    Args:
        sd_version: 1: the objective acts on eps_c - eps_u (eps-models); 2: on s_D (v-models).
        alpha: weight of the prior `|| x ||`; the authors took 0.05 for Stable Diffusion 1.4 and 0.01 for 2.
        threshold: the objective that is enough; 8.2 in the released code.
        lr: of Adam.
        max_steps: gradient steps of a search.
        budget: points that are searched at once.
        max_restarts: searches after the first.

    Source: Implements the code released with Jeon et al. 2025 (METHODS 5.1, reference mode).
    """

    sd_version: Literal[1, 2] = 1
    alpha: float = 0.05
    threshold: float = REFERENCE_THRESHOLD
    lr: float = 0.05
    max_steps: int = 10
    budget: int = 8
    max_restarts: int = 8

    def __post_init__(self) -> None:
        if self.sd_version not in (1, 2):
            raise UsageError(f"`sd_version` must be 1 or 2, got {self.sd_version!r}.")
        counts = {"max_steps": 1, "budget": 1, "max_restarts": 0}
        check_settings(self, positive=("threshold", "lr"), finite=("alpha",), counts=counts)

    def sample(self, model: PromptedDenoiser, prompt: str, seeds: Sequence[int], sampling: DdimSampling) -> Mitigated:
        """The images of a prompt, as many as seeds; all of them depend on all seeds."""
        denoiser = require_prompted(model, "SAIL")
        t = first_timestep(denoiser, sampling)
        eps = eps_difference(denoiser, t, prompt_conditioning(denoiser, [prompt]))
        factor = 1.0 if self.sd_version == 1 else -1.0 / denoiser.schedule.at(t)[1]
        width = max(self.budget, len(seeds))

        def draw(number: int) -> Tensor:
            spare = SPARE_SEED + int(seeds[0]) * 1024 + number * width
            own = list(seeds) if number == 0 else []
            return seeded_noise(denoiser, own + [spare + i for i in range(width - len(own))])

        noise = self.search(lambda x: factor * eps(x), draw, len(seeds))
        return sample_from(denoiser, noise, prompt, sampling)

    def search(self, difference: Difference, draw: Callable[[int], Tensor], wanted: int) -> StartNoise:
        """Search as the released code does, with its two slips, so that its start noise is reproduced.

        The direction stays that of the initial noise, and an accepted point is moved on by later updates until its
        search ends. The search restarts from the same noise twice, so that one point may be returned several times;
        every third restart takes new noise and a threshold raised by 0.1. Unlike the released code it ends: after
        `max_restarts` the best points of the last search fill the places that are left, and are not `accepted`.

        Args:
            difference: x -> D(x), differentiable: eps_c - eps_u for eps-models, s_D for v-models.
            draw: number of a draw -> its start noise (budget, *shape).
            wanted: points to find.
        """
        found: list[Tensor] = []
        values: list[float] = []
        evaluations = backward = attempt = steps = 0
        for attempt in range(self.max_restarts + 1):
            start = draw(attempt // ATTEMPTS_PER_DRAW)
            limit = self.threshold + EASIER * (attempt // ATTEMPTS_PER_DRAW)
            x = start.clone().requires_grad_(True)
            optimizer = torch.optim.Adam([x], lr=self.lr)
            taken: set[int] = set()
            last: list[float] = []
            for step in range(self.max_steps):
                objective = reference_objective(difference, x, start, alpha=self.alpha)
                evaluations += 4 * len(x)
                last, steps = objective.detach().double().tolist(), max(steps, step)
                for i, value in enumerate(last):
                    if value <= limit and i not in taken and len(found) < wanted:
                        taken.add(i)
                        found.append(x.detach()[i])  # a view: later updates still move it, as in the released code
                        values.append(value)
                if len(found) == wanted:
                    break
                optimizer.zero_grad(set_to_none=True)
                objective.sum().backward()  # type: ignore[no-untyped-call]
                backward += 4 * len(x)
                optimizer.step()
            if len(found) == wanted:
                break
        accepted = len(found)
        order = [i for i in np.argsort(last, kind="stable").tolist() if i not in taken]
        for k in range(wanted - accepted):
            i = order[k % len(order)] if order else k % len(last)
            found.append(x.detach()[i])
            values.append(last[i])
        return StartNoise(
            torch.stack(found).clone(),
            np.asarray(values),
            np.arange(len(found)) < accepted,
            updates=steps if accepted == wanted else self.max_steps,
            restarts=attempt,
            evaluations=evaluations,
            backward=backward,
        )
