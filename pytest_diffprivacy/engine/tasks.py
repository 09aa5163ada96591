"""Tasks: the units of work that score an image set or generate images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.engine.code_identity import code_identity, takes_prompts, with_code
from pytest_diffprivacy.engine.units import Unit
from pytest_diffprivacy.errors import AuditError, EvidenceError
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.models.protocols import Generator, Prompt
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.slices import in_batches

UNIT_IMAGES = 256
OVERSHOOT = 0.01
"""How far a generated image may leave [0, 1], as by a decoder that does not clamp."""


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """A score to be computed for every image of a set.

    Attributes:
        name: the method's name, with its label where it has one.
        version: raised whenever the same parameters would give other scores; None: never answered from the store.
        function: (model, images, *, batch_size, **parameters) -> float64 (images, *shape); it is given the images'
            prompts where it takes `prompts` and the images have some.
        parameters: its arguments.
        shape: of what it says about one image: () is a score, (k,) a row of k features.
    """

    name: str
    version: int | None
    function: Callable[..., NDArray[np.float64]]
    parameters: Mapping[str, Any]
    shape: tuple[int, ...] = ()

    @property
    def identity(self) -> dict[str, Any] | None:
        """What its results depend on besides model and images; None where that cannot be told."""
        code = None if self.version is None else code_identity(self.function)
        if code is None:
            return None
        try:
            parameters = with_code(self.parameters)
        except EvidenceError:
            return None
        return {"method": self.name, "version": self.version, **code, "parameters": parameters}

    @property
    def stored(self) -> bool:
        """Whether its results may be answered from the store."""
        return self.identity is not None

    @property
    def takes_prompts(self) -> bool:
        """Whether its function is given the images' prompts."""
        return takes_prompts(self.function)


def score_units(images: ImageSet, task: ScoreTask) -> list[Unit]:
    """One unit for every 256 images, whatever the batch size: its arrays are {"scores": float64 (images, *shape)}."""
    units, identity = [], task.identity
    for start in range(0, len(images), UNIT_IMAGES):
        stop = min(start + UNIT_IMAGES, len(images))
        depends = None if identity is None else {**identity, "images": images.part_digest(start, stop)}
        label = f"{task.name}, {images.role}s {start}-{stop - 1}"
        units.append(Unit(label, depends, partial(_score_part, images, start, stop, task), stop - start))
    return units


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """What a generator is asked for.

    Attributes:
        seeds: one an image.
        steps: sampling steps.
        prompt: of all of these images; a tuple: one for each; None: none.
        guidance_scale: of classifier-free guidance; None: the model's own default.
        label: what events and progress call it; never holds the prompt.
        first: number of the first of them in it.
    """

    seeds: range
    steps: int
    prompt: Prompt | tuple[Prompt, ...] | None = None
    guidance_scale: float | None = None
    label: str = "generations"
    first: int = 0

    def conditions(self, part: slice) -> dict[str, Any]:
        """Everything besides the seeds that some of the images depend on."""
        guidance = None if self.guidance_scale is None else float(self.guidance_scale)
        told = {"prompts": list(self.prompt[part])} if isinstance(self.prompt, tuple) else {"prompt": self.prompt}
        conditions = {"steps": self.steps, **told, "guidance_scale": guidance}
        return {name: value for name, value in conditions.items() if value is not None}


def generation_units(task: GenerationTask) -> list[Unit]:
    """One unit for every 256 seeds: its arrays are {"images": uint8 (seeds, channels, height, width)}."""
    units = []
    for part in in_batches(len(task.seeds), UNIT_IMAGES):
        seeds, conditions = task.seeds[part], task.conditions(part)
        depends = {"method": "generate", "version": 1, **conditions, "seeds": [seeds.start, seeds.stop]}
        label = f"{task.label} {task.first + part.start}-{task.first + part.stop - 1}"
        units.append(Unit(label, depends, partial(_generate_part, seeds, conditions), len(seeds)))
    return units


def _score_part(images: ImageSet, start: int, stop: int, task: ScoreTask, model: Any, batch_size: int) -> Arrays:
    batch = torch.from_numpy(images.load(range(start, stop)))
    prompts = images.prompts(range(start, stop)) if task.takes_prompts else None
    given = {} if prompts is None else {"prompts": prompts}
    scores = task.function(model, batch, batch_size=batch_size, **task.parameters, **given)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (stop - start, *task.shape) or not np.isfinite(values).all():
        raise AuditError(
            f"{task.name} must return {stop - start} finite scores, got shape {values.shape} with "
            f"{int((~np.isfinite(values)).sum())} that are not finite."
        )
    return {"scores": values}


def _generate_part(seeds: range, conditions: Mapping[str, Any], model: Generator, batch_size: int) -> Arrays:
    return {"images": generate(model, seeds, conditions, batch_size)}


def generate(
    model: Generator, seeds: Sequence[int], conditions: Mapping[str, Any], batch_size: int
) -> NDArray[np.uint8]:
    """Images (seeds, channels, height, width), under the conditions of a task."""
    options = {name: value for name, value in conditions.items() if name not in ("prompt", "prompts")}
    parts = []
    for part in in_batches(len(seeds), batch_size):
        batch = list(seeds[part])
        if "prompt" in conditions:
            options["prompts"] = [conditions["prompt"]] * len(batch)
        if "prompts" in conditions:
            options["prompts"] = conditions["prompts"][part]
        images = checked_images(model.generate(batch, **options), len(batch))
        parts.append((images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy())
    return np.concatenate(parts)


def checked_images(images: Any, count: int, maker: str = "The model") -> torch.Tensor:
    """Refuse what are no `count` finite images in [0, 1]; `maker`: what made them, for messages."""
    if not isinstance(images, torch.Tensor):
        remedy = "torch.stack" if isinstance(images, list | tuple) else "torch.as_tensor"
        raise AuditError(f"{maker} must generate a tensor, got {type(images).__name__}. {remedy} makes one.")
    if images.ndim != 4 or len(images) != count:
        raise AuditError(
            f"{maker} must generate {count} images (n, channels, height, width), got shape "
            f"{tuple(images.shape)}. Return one image a seed."
        )
    if not bool(torch.isfinite(images).all()):
        raise AuditError(f"{maker} generates images with NaN or infinity. Check the checkpoint and its precision.")
    low, high = float(images.min()), float(images.max())
    if low < -OVERSHOOT or high > 1.0 + OVERSHOOT:
        raise AuditError(
            f"{maker} must generate images in [0, 1], got [{low:g}, {high:g}]. Rescale them: (x + 1) / 2 brings "
            "[-1, 1] there, x / 255 brings bytes."
        )
    return images
