"""What is a detector of memorized prompts? It watches a prompt being sampled, and turns what it saw into a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import PromptedDenoiser

Arrays: TypeAlias = dict[str, NDArray[Any]]
Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Attention:
    """Cross-attention of the conditional branch in one network evaluation, averaged over heads.

    Attributes:
        tokens: (layers, rows, tokens), averaged over positions as well; layers in the order down, mid, up.
        maps: (rows, positions, tokens) of each of the first layers that were asked for.
    """

    tokens: Tensor
    maps: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """One sampling step of a batch; a row is one image of one prompt.

    Attributes:
        model: the model under audit.
        index: 0 for the first step.
        total: steps of the whole walk.
        timesteps: of the whole walk.
        x_t: (rows, *sample_shape), where the step starts.
        eps_u: noise in x_t without the prompt, same shape.
        eps_c: noise in x_t with the prompt.
        x_next: where the step leads; after the last one x0.
        conditioning: of the prompts, a row each.
        token_counts: int (rows,), tokens of each prompt with its ends, at most as many as the encoder takes.
        attention: of the step's evaluation, if an observer asked for it.
    """

    model: PromptedDenoiser
    index: int
    total: int
    timesteps: tuple[int, ...]
    x_t: Tensor
    eps_u: Tensor
    eps_c: Tensor
    x_next: Tensor
    conditioning: Conditioning
    token_counts: NDArray[np.int64]
    attention: Attention | None

    @property
    def timestep(self) -> int:
        """The step's own timestep."""
        return self.timesteps[self.index]

    @property
    def last(self) -> bool:
        """Whether x_next is x0."""
        return self.index == self.total - 1


class Observer(Protocol):
    """What a detector keeps of one batch; made anew for each."""

    def see(self, step: Seen) -> None:
        """Look at a step."""
        ...

    def arrays(self) -> Arrays:
        """What was kept, each array with the batch's rows first."""
        ...


@dataclass(frozen=True, slots=True)
class Needs:
    """What a detector must be shown.

    Attributes:
        steps: how many steps from the first one on.
        attention: the indices of the steps whose cross-attention it reads.
        maps: of how many first layers it reads positions.
    """

    steps: int
    attention: frozenset[int] = frozenset()
    maps: int = 0


@dataclass(frozen=True, slots=True)
class Detector:
    """A published detector with its defaults; its functions are a module's own, as other processes are given it.

    Attributes:
        name: short name, as in `detector="hessian_score"`.
        title: what the paper calls it.
        access: the access it needs.
        source: the citation.
        needs: (sampling steps, **parameters) -> what it must be shown.
        observer: (**parameters) -> a fresh observer.
        scores: (arrays with (prompts, images) first, **parameters) -> float64 (prompts,), higher = memorized.
        defaults: parameters with their default values.
        version: raised whenever the same parameters would give other scores.
        evaluations: (sampling steps, **parameters) -> network rows an image costs when it runs alone.
        least_images: images a prompt without which it is undefined.
    """

    name: str
    title: str
    access: str
    source: str
    needs: Callable[..., Needs]
    observer: Callable[..., Observer]
    scores: Callable[..., Scores]
    defaults: Mapping[str, Any]
    version: int
    evaluations: Callable[..., int]
    least_images: int = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A detector with the parameters it is to run with."""

    detector: Detector
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> dict[str, Any]:
        """All parameters."""
        return {**self.detector.defaults, **self.parameters}

    def needs(self, sampling_steps: int) -> Needs:
        """What it must be shown."""
        return self.detector.needs(sampling_steps, **self.chosen)

    def scores(self, arrays: Arrays) -> Scores:
        """Score of each prompt from what was kept."""
        return self.detector.scores(arrays, **self.chosen)
