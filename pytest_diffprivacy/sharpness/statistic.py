"""What must an audit know about a sharpness statistic besides its values?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SharpnessStatistic:
    """A measure of sharpness at an image, with its defaults.

    Attributes:
        name: short name, as in `statistic="curvature"`.
        title: what a report calls it.
        access: the access it needs.
        source: what it follows.
        scores: (model, images, *, timestep, draws, seed, batch_size) -> float64 (images,), higher = sharper.
        timestep: its default noise level; None: it has none, and the caller must choose.
        version: raised whenever the same parameters would give other scores.
    """

    name: str
    title: str
    access: str
    source: str
    scores: Callable[..., NDArray[np.float64]]
    timestep: int | None
    version: int
