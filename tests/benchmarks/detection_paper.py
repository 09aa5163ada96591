"""What do the detectors' own papers print, and which detector of ours stands in which of their rows?

Jeon et al. 2025, Table 1, for Stable Diffusion v1.4 (predicts the noise) and v2.0 (predicts v): AUC and TPR at 1 % FPR,
without intervals. METHODS 4.9 says how they were taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple


class Printed(NamedTuple):
    """AUC and TPR at 1 % FPR of one row."""

    auc: float
    tpr: float

    def __str__(self) -> str:
        return f"{self.auc:.3f} / {self.tpr:.3f}"


@dataclass(frozen=True)
class Entry:
    """A row's method: a detector, how many steps it scores, and its parameters."""

    detector: str
    steps: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


PUBLISHED_LAYER: Final = 3
LE: Final = "LE, layer {}"
ENTRIES: Final[Mapping[str, Entry]] = {
    "tiled l2": Entry("tiled_l2", 50),
    LE.format(PUBLISHED_LAYER): Entry("layerwise_entropy", 1, {"layer": PUBLISHED_LAYER}),
    "AE": Entry("attention_entropy", 50),
    "BE": Entry("bright_ending", 50),
    "Wen, 1 step": Entry("score_difference", 1, {"steps": 1}),
    "Wen, 5 steps": Entry("score_difference", 5, {"steps": 5}),
    "Wen, 50 steps": Entry("score_difference", 50, {"steps": 50}),
    "Jeon, 1 step": Entry("hessian_score", 1, {"steps": 1}),
    "anisotropy": Entry("anisotropy", 1),
}
NUMBERS: Final = (1, 4, 16)

PAPER: Final[Mapping[str, Mapping[tuple[str, int], Printed]]] = {
    "SD v1.4": {
        ("tiled l2", 4): Printed(0.908, 0.088),
        ("tiled l2", 16): Printed(0.940, 0.232),
        ("LE, layer 3", 1): Printed(0.846, 0.116),
        ("LE, layer 3", 4): Printed(0.839, 0.130),
        ("LE, layer 3", 16): Printed(0.832, 0.124),
        ("AE", 1): Printed(0.606, 0.0),
        ("AE", 4): Printed(0.628, 0.0),
        ("AE", 16): Printed(0.598, 0.0),
        ("BE", 1): Printed(0.986, 0.950),
        ("BE", 4): Printed(0.997, 0.980),
        ("BE", 16): Printed(0.997, 0.982),
        ("Wen, 1 step", 1): Printed(0.976, 0.896),
        ("Wen, 1 step", 4): Printed(0.992, 0.944),
        ("Wen, 1 step", 16): Printed(0.990, 0.928),
        ("Wen, 5 steps", 1): Printed(0.991, 0.932),
        ("Wen, 5 steps", 4): Printed(0.997, 0.978),
        ("Wen, 5 steps", 16): Printed(0.998, 0.982),
        ("Wen, 50 steps", 1): Printed(0.983, 0.948),
        ("Wen, 50 steps", 4): Printed(0.996, 0.982),
        ("Wen, 50 steps", 16): Printed(0.998, 0.980),
        ("Jeon, 1 step", 1): Printed(0.987, 0.908),
        ("Jeon, 1 step", 4): Printed(0.998, 0.982),
    },
    "SD v2.0": {
        ("tiled l2", 4): Printed(0.792, 0.114),
        ("tiled l2", 16): Printed(0.907, 0.114),
        ("LE, layer 3", 1): Printed(0.848, 0.0),
        ("LE, layer 3", 4): Printed(0.853, 0.0),
        ("LE, layer 3", 16): Printed(0.851, 0.0),
        ("AE", 1): Printed(0.809, 0.0),
        ("AE", 4): Printed(0.820, 0.0),
        ("AE", 16): Printed(0.817, 0.0),
        ("BE", 1): Printed(0.983, 0.908),
        ("BE", 4): Printed(0.990, 0.945),
        ("BE", 16): Printed(0.990, 0.949),
        ("Wen, 1 step", 1): Printed(0.948, 0.739),
        ("Wen, 1 step", 4): Printed(0.980, 0.876),
        ("Wen, 1 step", 16): Printed(0.983, 0.881),
        ("Wen, 5 steps", 1): Printed(0.969, 0.885),
        ("Wen, 5 steps", 4): Printed(0.984, 0.917),
        ("Wen, 5 steps", 16): Printed(0.987, 0.931),
        ("Wen, 50 steps", 1): Printed(0.982, 0.904),
        ("Wen, 50 steps", 4): Printed(0.990, 0.949),
        ("Wen, 50 steps", 16): Printed(0.991, 0.945),
        ("Jeon, 1 step", 1): Printed(0.959, 0.740),
        ("Jeon, 1 step", 4): Printed(0.991, 0.895),
    },
}


def printed(prediction: str, title: str, images: int) -> Printed | None:
    """The paper's row of that title and number of images, of the model that predicts the same; None: it has none."""
    return PAPER["SD v2.0" if prediction == "v_prediction" else "SD v1.4"].get((title, images))
