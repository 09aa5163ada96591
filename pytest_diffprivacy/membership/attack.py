"""What must an audit know about a membership attack besides its scores?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Attack:
    """A published attack with its defaults.

    Attributes:
        name: short name, as in `attack="secmi"`.
        title: what the paper calls it.
        access: the access it needs.
        source: the citation.
        scores: (model, images, **parameters) -> float64 (images,), higher = more likely member.
        defaults: parameters of `scores` with their default values.
        version: raised whenever the same parameters would give other scores.
        seeded: whether `scores` draws noise from a seed.
        evaluations: parameters -> network evaluations an image costs.
        timesteps: parameters -> the timesteps to be matched to the model's schedule.
        needs_prompts: whether it cannot run without the images' prompts.
        decides_at_timestep: whether the answers at its timesteps make the score, and what it asks for below them only
            leads there; its control then has no memory below them.
        uncontrolled: why it cannot be asked about an ideal denoiser; "" where it can.
    """

    name: str
    title: str
    access: str
    source: str
    scores: Callable[..., NDArray[np.float64]]
    defaults: Mapping[str, Any]
    version: int
    seeded: bool
    evaluations: Callable[[Mapping[str, Any]], int]
    timesteps: Callable[[Mapping[str, Any]], tuple[int, ...]]
    needs_prompts: bool = False
    decides_at_timestep: bool = False
    uncontrolled: str = ""
