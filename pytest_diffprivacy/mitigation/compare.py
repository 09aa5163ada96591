"""Comparison of mitigations on the same prompts with the same seeds: images, closeness, alignment and cost."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.distances import pairwise_l2
from pytest_diffprivacy.engine import Engine, Unit, Work
from pytest_diffprivacy.engine.tasks import checked_images
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.evidence.private_ids import private_id
from pytest_diffprivacy.evidence.records import Control
from pytest_diffprivacy.mitigation.alignment import AlignmentScorer
from pytest_diffprivacy.mitigation.closeness import Closeness
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Mitigation,
    MitigationCard,
    SamplingCost,
    Unmitigated,
    code_of,
)
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.protocols import PromptedDenoiser

SAME_PICTURE = 1.0 / 255.0


@dataclass(frozen=True, slots=True)
class ComparedPrompts:
    """The prompts of a comparison.

    Attributes:
        memorized: prompts that are suspected or known to bring back training images.
        training: for each of them its training images, (images, channels, height, width) in [0, 1].
        others: prompts that are not memorized: what a mitigation costs where nothing was wrong.
        excluded: prompts left out because their training image is gone.
    """

    memorized: tuple[str, ...]
    training: tuple[NDArray[np.float32], ...]
    others: tuple[str, ...]
    excluded: int


@dataclass(frozen=True, slots=True)
class Generated:
    """What a method made of some prompts.

    Attributes:
        images: uint8 (prompts, images, channels, height, width).
        alignment: float64 (prompts, images).
        spread: float64 (prompts,), mean RMS distance between two images of a prompt; 0 for one image.
        distinct: int64 (prompts,), images of a prompt that differ by more than a grey level.
        seconds: float64 (prompts,), time for all images of a prompt.
        costs: int64 (prompts, 4), the fields of SamplingCost.
    """

    images: NDArray[np.uint8]
    alignment: NDArray[np.float64]
    spread: NDArray[np.float64]
    distinct: NDArray[np.int64]
    seconds: NDArray[np.float64]
    costs: NDArray[np.int64]

    @property
    def cost(self) -> SamplingCost:
        """Of all prompts together."""
        return SamplingCost(*self.costs.sum(0).tolist())

    @property
    def count(self) -> int:
        """Images of all prompts together."""
        return self.alignment.size


@dataclass(frozen=True, slots=True)
class MethodOutcome:
    """One method of a comparison.

    Attributes:
        card: what it is.
        memorized: what it made of the memorized prompts.
        closeness: float64 (prompts, images), to the training images of the prompt.
        copies: bool (prompts, images).
        others: what it made of the other prompts; None where there are none.
    """

    card: MitigationCard
    memorized: Generated
    closeness: NDArray[np.float64]
    copies: NDArray[np.bool_]
    others: Generated | None


@dataclass(frozen=True, slots=True)
class MitigationComparison:
    """Every method on the same prompts and seeds; the first one is the model without mitigation.

    Attributes:
        model: whose images they are.
        prompts: the prompts and their training images.
        sampling: steps and guidance.
        seed: from which every image's seed follows, with its prompt and number.
        closeness: name of the closeness measure.
        closeness_label: what its numbers are.
        alignment: name of the alignment scorer.
        outcomes: one a method.
        work: what was computed and what was reused.
        controls: of the model that was compared on.
    """

    model: ModelIdentity
    prompts: ComparedPrompts
    sampling: DdimSampling
    seed: int
    closeness: str
    closeness_label: str
    alignment: str
    outcomes: tuple[MethodOutcome, ...]
    work: Work
    controls: tuple[Control, ...] = ()

    @property
    def original(self) -> MethodOutcome:
        """The model without mitigation."""
        return self.outcomes[0]

    def outcome(self, name: str) -> MethodOutcome:
        """The method of that name.

        Raises:
            UsageError: it was not compared; the message lists those that were.
        """
        for outcome in self.outcomes[1:]:
            if outcome.card.name == name:
                return outcome
        names = ", ".join(o.card.name for o in self.outcomes[1:])
        raise UsageError(f"`mitigation` must be one of {names}, got {name!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """What all methods of a comparison share.

    Attributes:
        sampling: steps and guidance.
        images_per_prompt: images of each prompt and method.
        seed: from which every image's seed follows, with its prompt and number.
        closeness: measures how close images are to training images.
        alignment: scores how well images fit their prompts.
    """

    sampling: DdimSampling
    images_per_prompt: int
    seed: int
    closeness: Closeness
    alignment: AlignmentScorer


def run_comparison(
    model: PromptedDenoiser,
    prompts: ComparedPrompts,
    mitigations: Sequence[Mitigation],
    shared: SharedSettings,
    engine: Engine,
) -> MitigationComparison:
    """Sample every prompt with every method, one unit a prompt and method, and measure the images.

    Raises:
        UsageError: two methods of one name, or a name that is taken by the original.
        AuditError: images or scores that are not finite.

    Source: Implements METHODS 5.7.
    """
    methods = all_methods(mitigations)
    work, closeness = Work(), shared.closeness

    def generated(method: Mitigation, group: Sequence[str]) -> Generated:
        units = [_unit(method, prompt, shared) for prompt in group]
        title = f"{method.card.title}: prompts"
        return _measured(list(engine.run(model, units, title=title, work=work)), group, shared.alignment)

    outcomes = []
    for method in methods:
        made = generated(method, prompts.memorized)
        near = np.stack(
            [closeness.measure(_floats(images), t) for images, t in zip(made.images, prompts.training, strict=True)]
        )
        others = generated(method, prompts.others) if prompts.others else None
        outcomes.append(MethodOutcome(method.card, made, near, closeness.copies(near), others))
    return MitigationComparison(
        model=model.identity,
        prompts=prompts,
        sampling=shared.sampling,
        seed=shared.seed,
        closeness=closeness.name,
        closeness_label=closeness.label,
        alignment=shared.alignment.name,
        outcomes=tuple(outcomes),
        work=work,
    )


def all_methods(mitigations: Sequence[Mitigation]) -> list[Mitigation]:
    """No mitigation, then each of them; refuses two of one name, or a name that is taken by the original."""
    methods: list[Mitigation] = [Unmitigated(), *mitigations]
    names = [method.card.name for method in methods]
    if len(set(names)) != len(names):
        raise UsageError(
            f"`mitigations` must have different names, none of them 'none', got {names[1:]}. Compare several "
            "settings of one method in a call each: prompts and seeds are the same."
        )
    return methods


def image_seeds(prompt: str, count: int, seed: int) -> list[int]:
    """The seeds of a prompt's images: the same for every method, and image i's whatever their number."""
    digests = (hashlib.sha256(f"mitigation|{seed}|{i}|{prompt}".encode()).digest() for i in range(count))
    return [int.from_bytes(digest[:6], "little") for digest in digests]


def _unit(method: Mitigation, prompt: str, shared: SharedSettings) -> Unit:
    card, code, sampling = method.card, code_of(method), shared.sampling
    seeds = image_seeds(prompt, shared.images_per_prompt, shared.seed)
    depends = {
        "method": f"mitigation {card.name}",
        "version": card.version,
        "code": code,
        "parameters": dict(card.parameters),
        "sampling": {field.name: getattr(sampling, field.name) for field in fields(sampling)},
        "prompt": prompt,
        "seeds": seeds,
    }
    label = f"{card.name}, prompt {private_id(prompt.encode())}"
    stored = None if card.version is None or code is None else depends
    return Unit(label, stored, partial(_sample, method, prompt, seeds, sampling), len(seeds))


def _sample(
    method: Mitigation, prompt: str, seeds: Sequence[int], sampling: DdimSampling, model: Any, batch_size: int
) -> Arrays:
    started = time.perf_counter()
    found = method.sample(model, prompt, seeds, sampling)
    seconds = time.perf_counter() - started
    images = checked_images(found.images, len(seeds), method.card.title).detach().cpu()
    return {
        "images": (images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy(),
        "costs": np.asarray([getattr(found.cost, field.name) for field in fields(SamplingCost)], dtype=np.int64),
        "seconds": np.asarray([seconds]),
    }


def _measured(parts: Sequence[Arrays], prompts: Sequence[str], alignment: AlignmentScorer) -> Generated:
    images = np.stack([part["images"] for part in parts])
    count = images.shape[1]
    flat = _floats(images.reshape(-1, *images.shape[2:]))
    repeated = [prompt for prompt in prompts for _ in range(count)]
    scores = np.asarray(alignment.scores(flat, repeated), dtype=np.float64)
    if scores.shape != (len(flat),) or not np.isfinite(scores).all():
        raise AuditError(f"The alignment scorer must give {len(flat)} finite scores, got shape {scores.shape}.")
    spread, distinct = zip(*(_variety(_floats(group)) for group in images), strict=True)
    return Generated(
        images=images,
        alignment=scores.reshape(len(prompts), count),
        spread=np.asarray(spread),
        distinct=np.asarray(distinct, dtype=np.int64),
        seconds=np.concatenate([part["seconds"] for part in parts]),
        costs=np.stack([part["costs"] for part in parts]),
    )


def _variety(images: NDArray[np.float32]) -> tuple[float, int]:
    """Mean distance of two images, and how many differ from every earlier one."""
    distances = pairwise_l2(images)
    pairs = distances[np.triu_indices(len(images), 1)]
    distinct = sum(bool((distances[i, :i] > SAME_PICTURE).all()) for i in range(len(images)))
    return (float(pairs.mean()) if len(pairs) else 0.0), distinct


def _floats(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.astype(np.float32) / np.float32(255.0)
