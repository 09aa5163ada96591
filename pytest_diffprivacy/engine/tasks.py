"""Which units make up the scoring of an image set, and which the generation of images?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.engine.units import Unit
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.models.protocols import Generator
from pytest_diffprivacy.probes import ImageSet

UNIT_IMAGES = 256


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """A score to be computed for every image of a set.

    Attributes:
        name: the method's name.
        version: raised whenever the same parameters would give other scores.
        function: (model, images, *, batch_size, **parameters) -> float64 (images, *shape).
        parameters: its arguments.
        stored: whether the function is one of ours, so that its name and version define it.
        shape: of what it says about one image: () is a score, (k,) a row of k features.
    """

    name: str
    version: int
    function: Callable[..., NDArray[np.float64]]
    parameters: Mapping[str, Any]
    stored: bool = True
    shape: tuple[int, ...] = ()


def score_units(images: ImageSet, task: ScoreTask) -> list[Unit]:
    """One unit for every 256 images, whatever the batch size: its arrays are {"scores": float64 (images, *shape)}."""
    units = []
    for start in range(0, len(images), UNIT_IMAGES):
        stop = min(start + UNIT_IMAGES, len(images))
        depends = {
            "method": task.name,
            "version": task.version,
            "parameters": dict(task.parameters),
            "images": images.part_digest(start, stop),
        }
        label = f"{task.name}, {images.role}s {start}-{stop - 1}"
        compute = partial(_score_part, images, start, stop, task)
        units.append(Unit(label, depends if task.stored else None, compute, stop - start))
    return units


def generation_units(seeds: range, steps: int) -> list[Unit]:
    """One unit for every 256 seeds: its arrays are {"images": uint8 (seeds, channels, height, width)}."""
    units = []
    for start in range(0, len(seeds), UNIT_IMAGES):
        part = seeds[start : start + UNIT_IMAGES]
        depends = {"method": "generate", "version": 1, "steps": steps, "seeds": [part.start, part.stop]}
        label = f"generations {start}-{start + len(part) - 1}"
        units.append(Unit(label, depends, partial(_generate_part, part, steps), len(part)))
    return units


def _score_part(images: ImageSet, start: int, stop: int, task: ScoreTask, model: Any, batch_size: int) -> Arrays:
    batch = torch.from_numpy(images.load(range(start, stop)))
    prompts = images.prompts(range(start, stop)) if task.stored else None
    given = {} if prompts is None else {"prompts": prompts}
    scores = task.function(model, batch, batch_size=batch_size, **task.parameters, **given)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (stop - start, *task.shape) or not np.isfinite(values).all():
        raise AuditError(
            f"{task.name} must return {stop - start} finite scores, got shape {values.shape} with "
            f"{int((~np.isfinite(values)).sum())} that are not finite."
        )
    return {"scores": values}


def _generate_part(seeds: range, steps: int, model: Generator, batch_size: int) -> Arrays:
    parts = []
    for start in range(0, len(seeds), batch_size):
        images = model.generate(list(seeds[start : start + batch_size]), steps=steps)
        if not bool(torch.isfinite(images).all()):
            raise AuditError("The model generates images with NaN or infinity. Check the checkpoint and its precision.")
        parts.append((images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy())
    return {"images": np.concatenate(parts)}
