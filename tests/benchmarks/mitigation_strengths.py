"""How strong is each mitigation to be? Strengths to try, and the rule by which one is taken, on prompts set apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pytest_diffprivacy.mitigation import (
    AttentionRescaling,
    DdimSampling,
    EmbeddingOptimization,
    MitigationComparison,
    RandomNumberAddition,
    RandomTokenAddition,
    Sail,
    SailReference,
)
from pytest_diffprivacy.mitigation.method import (
    Difference,
    eps_difference,
    first_timestep,
    prompt_conditioning,
    seeded_noise,
)
from pytest_diffprivacy.mitigation.sail import sharpness_objective
from pytest_diffprivacy.mitigation.sail_reference import reference_objective
from pytest_diffprivacy.models import StableDiffusion

COPIES_ALLOWED, LOSS_ALLOWED = 0.5, 0.05
DELTAS = (10.0,)
REFERENCE_PRIOR = 0.05


@dataclass(frozen=True)
class Start:
    """Where the searches start: medians over prompts, of the paper's objective for each delta, and of the losses."""

    sharpness: Mapping[float, float]
    reference: float
    embedding: float


def start_of(model: StableDiffusion, prompts: Sequence[str], sampling: DdimSampling, images: int) -> Start:
    """Measure the objectives at plain start noise; the embedding's loss grows with the images of a prompt."""
    t = first_timestep(model, sampling)
    sigma = model.schedule.at(t)[1]
    noise = seeded_noise(model, range(images))
    sharpness: dict[float, list[float]] = {delta: [] for delta in DELTAS}
    reference: list[float] = []
    embedding: list[float] = []
    for prompt in prompts:
        conditioning = prompt_conditioning(model, [prompt])
        eps = eps_difference(model, t, conditioning)
        with torch.no_grad():
            for delta, values in sharpness.items():
                values += sharpness_objective(scored(eps, sigma), noise, delta=delta, alpha=0.0).tolist()
            reference += reference_objective(eps, noise, noise, alpha=REFERENCE_PRIOR).tolist()
        once = EmbeddingOptimization(1e-9, iterations=1).optimize(model, noise, conditioning, timestep=t)
        embedding.append(float(once.losses[0]))
    medians = {delta: float(np.median(values)) for delta, values in sharpness.items()}
    return Start(medians, float(np.median(reference)), float(np.median(embedding)))


def scored(eps: Difference, sigma: float) -> Difference:
    """eps_c - eps_u as a difference of scores."""
    return lambda x: -eps(x) / sigma


def strengths(start: Start) -> dict[str, list[Any]]:
    """The strengths that are tried for each method; targets of a search are shares of where it starts."""
    return {
        "sail": [
            Sail(delta=delta, alpha=0.0, threshold=share * start.sharpness[delta], max_steps=steps)
            for delta in DELTAS
            for share, steps in ((0.1, 20), (0.07, 25), (0.05, 30))
        ],
        "sail-reference": [SailReference(threshold=share * start.reference) for share in (0.5,)],
        "wen": [EmbeddingOptimization(target_loss=share * start.embedding) for share in (0.75, 0.5, 0.25)],
        "ren": [AttentionRescaling(factor=factor) for factor in (1.1, 1.25, 1.5)],
        "rta": [RandomTokenAddition(additions=count) for count in (1, 2, 4)],
        "rna": [RandomNumberAddition(additions=count) for count in (1, 2, 4)],
    }


def chosen(comparison: MitigationComparison, tried: Sequence[Any]) -> tuple[Any, list[dict[str, Any]]]:
    """The strength to report, and what each did: the one that stays farthest within both limits.

    Its worse share of a limit (copies left of COPIES_ALLOWED, alignment lost of LOSS_ALLOWED) is the least.
    """
    original, figures = comparison.original, []
    for method, outcome in zip(tried, comparison.outcomes[1:], strict=True):
        left = outcome.copies.mean() / original.copies.mean()
        lost = 1.0 - outcome.memorized.alignment.mean() / original.memorized.alignment.mean()
        figures.append({"strength": strength(method), "copies left": float(left), "alignment lost": float(lost)})
    worse = [max(row["copies left"] / COPIES_ALLOWED, row["alignment lost"] / LOSS_ALLOWED) for row in figures]
    return tried[int(np.argmin(worse))], figures


def strength(method: Any) -> str:
    """The parameters of a method or outcome, in one cell."""
    shown = {key: value for key, value in method.card.parameters.items() if value is not None}
    texts = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items())
    return ", ".join(texts)


@dataclass(frozen=True)
class Numbered:
    """A method under a name of its own, so that several strengths of it can be compared at once."""

    method: Any
    number: int

    @property
    def card(self) -> Any:
        """The method's own, with its number."""
        return replace(self.method.card, name=f"{self.method.card.name}-{self.number}")

    def sample(self, *arguments: Any) -> Any:
        """As the method does."""
        return self.method.sample(*arguments)
