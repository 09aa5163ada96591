"""Observation of prompts being sampled: one guided DDIM walk of each prompt, whose steps every detector sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import guided_ddim
from pytest_diffprivacy.models.protocols import PromptedDenoiser, require_cross_attention
from pytest_diffprivacy.slices import in_batches
from pytest_diffprivacy.statistics.arguments import check_count, check_finite

Arrays: TypeAlias = dict[str, NDArray[Any]]
Observed: TypeAlias = dict[str, list[Tensor]]
Steps: TypeAlias = Callable[[int], Collection[int]]
SAMPLING_STEPS: Final = 50


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
        timesteps: of the whole walk.
        x_t: (rows, *sample_shape), where the step starts.
        eps_u: noise in x_t without the prompt, same shape.
        eps_c: noise in x_t with the prompt.
        x_next: where the step leads; after the last one x0.
        conditioning: of the prompts, a row each.
        token_counts: int (rows,), tokens of each prompt with its ends, at most as many as the encoder takes.
        attention: of the step's evaluation, if an observer reads it.
    """

    model: PromptedDenoiser
    index: int
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
        return self.index == len(self.timesteps) - 1

    @property
    def pull(self) -> Tensor:
        """What the prompt changes in the prediction: eps_c - eps_u."""
        return self.eps_c - self.eps_u


def first_step(sampling_steps: int) -> Collection[int]:
    """The first step alone."""
    return range(1)


def last_step(sampling_steps: int) -> Collection[int]:
    """The last step alone."""
    return range(sampling_steps - 1, sampling_steps)


def first_steps(steps: int) -> Steps:
    """The first `steps` steps; refuses a number that is none, or more than are sampled."""
    check_count("steps", steps, least=1)

    def within(sampling_steps: int) -> Collection[int]:
        if steps > sampling_steps:
            raise UsageError(f"`steps` must be between 1 and `sampling_steps` = {sampling_steps}, got {steps!r}.")
        return range(steps)

    return within


def by_step(observed: Observed) -> Arrays:
    """What was observed of each row, (rows, steps)."""
    return {name: torch.stack(tensors, 1).cpu().numpy() for name, tensors in observed.items()}


def once(observed: Observed) -> Arrays:
    """What was observed once, as it is."""
    return {name: tensor.cpu().numpy() for name, (tensor,) in observed.items()}


@dataclass(frozen=True, slots=True)
class Observation:
    """What a detector with its parameters observes of a walk, and what it makes of it; made anew for each batch.

    Attributes:
        at: (sampling steps) -> indices of the steps that it observes.
        observe: what it takes of a step, each tensor with the batch's rows first.
        formula: (arrays with (prompts, images) first) -> (prompts,), higher = memorized.
        kept: (tensors by name, in the order of steps) -> arrays with the batch's rows first.
        attention: (sampling steps) -> indices of the steps whose cross-attention it reads; None: of none.
        maps: of how many first layers it reads positions.
        extra: network rows an image that a step costs beside the two of the walk.
    """

    at: Steps
    observe: Callable[[Seen], Mapping[str, Tensor]]
    formula: Callable[[Arrays], Any]
    kept: Callable[[Observed], Arrays] = by_step
    attention: Steps | None = None
    maps: int = 0
    extra: int = 0

    def steps(self, sampling_steps: int) -> int:
        """How many steps of the walk it needs, from the first one on."""
        return max(self.at(sampling_steps)) + 1

    def cost(self, sampling_steps: int) -> int:
        """Network rows an image costs where the detector runs alone."""
        return 2 * self.steps(sampling_steps) + self.extra * len(self.at(sampling_steps))

    def reads(self, sampling_steps: int) -> Collection[int]:
        """The steps whose cross-attention it reads."""
        return () if self.attention is None else self.attention(sampling_steps)


@dataclass(frozen=True, slots=True)
class PromptSampling:
    """How prompts are sampled, the same for all detectors of a run.

    Attributes:
        images_per_prompt: images a prompt, each from its own noise.
        sampling_steps: DDIM steps of a whole walk.
        guidance_scale: moves x_t from the second step on; scores use the two branches as they are.
        seed: of x_T; each image's noise also depends on its prompt.
    """

    images_per_prompt: int = 4
    sampling_steps: int = SAMPLING_STEPS
    guidance_scale: float = 7.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images_per_prompt", "sampling_steps"):
            check_count(name, getattr(self, name), least=1)
        check_finite("guidance_scale", self.guidance_scale)


def observe_walks(
    model: PromptedDenoiser,
    texts: Sequence[str],
    x_T: Tensor,
    observations: Mapping[str, Callable[[], Observation]],
    sampling: PromptSampling,
    batch_size: int,
) -> dict[str, Arrays]:
    """Sample each text from its x_T, batch by batch, and keep what each observation takes: (texts, ...)."""
    parts: dict[str, list[Arrays]] = {name: [] for name in observations}
    for part in in_batches(len(texts), batch_size):
        made = {name: make() for name, make in observations.items()}
        for name, arrays in _observe_batch(model, list(texts[part]), x_T[part], made, sampling).items():
            parts[name].append(arrays)
    return {
        name: {key: np.concatenate([arrays[key] for arrays in batches]) for key in batches[0]}
        for name, batches in parts.items()
    }


@torch.no_grad()
def _observe_batch(
    model: PromptedDenoiser,
    texts: list[str],
    x_T: Tensor,
    observations: Mapping[str, Observation],
    sampling: PromptSampling,
) -> dict[str, Arrays]:
    at = {name: set(one.at(sampling.sampling_steps)) for name, one in observations.items()}
    observed: dict[str, Observed] = {name: {} for name in observations}
    for step in _steps(model, texts, x_T, observations.values(), sampling):
        for name, observation in observations.items():
            if step.index in at[name]:
                for key, tensor in observation.observe(step).items():
                    observed[name].setdefault(key, []).append(tensor)
    return {name: observation.kept(observed[name]) for name, observation in observations.items()}


def _steps(
    model: PromptedDenoiser,
    texts: list[str],
    x_T: Tensor,
    observations: Collection[Observation],
    sampling: PromptSampling,
) -> Iterator[Seen]:
    """As many steps as the most demanding observation needs, with attention where one reads it."""
    conditioning = model.condition(texts, len(texts))
    assert conditioning is not None, "a text-to-image model has a conditioning for its prompts"
    counts = np.minimum(np.asarray(model.token_counts(texts), dtype=np.int64), model.token_limit)
    total = sampling.sampling_steps
    times = model.schedule.sampling_timesteps(total)
    walk = guided_ddim(model, x_T, conditioning, steps=total, guidance_scale=sampling.guidance_scale)
    for index in range(max(one.steps(total) for one in observations)):
        maps = [one.maps for one in observations if index in one.reads(total)]
        # The conditional half comes after as many rows without the prompt in a guided evaluation.
        reading = require_cross_attention(model, "").cross_attention(maps=max(maps), skip=len(x_T)) if maps else None
        with reading or nullcontext() as record:
            step = next(walk)
        attention = None if record is None else Attention(record.tokens, tuple(record.maps))
        yield Seen(model, index, times, step.x_t, step.eps_u, step.eps_c, step.x_next, conditioning, counts, attention)
