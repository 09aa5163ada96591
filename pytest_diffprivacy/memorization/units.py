"""Which units make up the run of detectors over a prompt set? A few prompts with all their images each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from pytest_diffprivacy.engine import Unit
from pytest_diffprivacy.memorization.detector import Arrays, Asked
from pytest_diffprivacy.memorization.run import BATCH_SIZE, Sampling, watch_prompts
from pytest_diffprivacy.probes import PromptSet


def prompt_units(prompts: PromptSet, asked: Mapping[str, Asked], sampling: Sampling) -> list[Unit]:
    """Units of about 64 images: their arrays are {"name/array": (prompts, images, ...)} for each detector.

    Labels, events and keys hold digests of the prompts, never their texts.
    """
    size = max(1, BATCH_SIZE // sampling.images_per_prompt)
    detectors = {
        name: {"detector": entry.detector.name, "version": entry.detector.version, "parameters": entry.chosen}
        for name, entry in asked.items()
    }
    units = []
    for start in range(0, len(prompts), size):
        stop = min(start + size, len(prompts))
        depends = {
            "method": "watch prompts",
            "version": 1,
            "detectors": detectors,
            "sampling": asdict(sampling),
            "prompts": prompts.part_digest(start, stop),
        }
        label = f"{' + '.join(asked)}, {prompts.role}s {start}-{stop - 1}"
        compute = partial(_watch_part, tuple(prompts.texts[start:stop]), dict(asked), sampling)
        units.append(Unit(label, depends, compute, (stop - start) * sampling.images_per_prompt))
    return units


def joined_units(parts: Iterable[Mapping[str, Any]]) -> dict[str, Arrays]:
    """The arrays of all units by detector, (prompts, images, ...)."""
    collected: dict[str, dict[str, list[Any]]] = {}
    for part in parts:
        for key, array in part.items():
            name, _, kind = key.rpartition("/")
            collected.setdefault(name, {}).setdefault(kind, []).append(array)
    return {name: {kind: np.concatenate(rows) for kind, rows in kinds.items()} for name, kinds in collected.items()}


def _watch_part(
    texts: tuple[str, ...], asked: dict[str, Asked], sampling: Sampling, model: Any, batch_size: int
) -> Arrays:
    seen = watch_prompts(model, texts, asked, sampling, batch_size=min(batch_size, BATCH_SIZE))
    return {f"{name}/{kind}": array for name, arrays in seen.items() for kind, array in arrays.items()}
