"""Wiring: whether errors of a noise prediction are those of a network that is asked as it was trained.

Each error is compared with that of a blur, the best guess that knows only the mean and variance of each pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from pytest_diffprivacy.statistics.arguments import FloatArray
from pytest_diffprivacy.statistics.controls import SIGNIFICANCE

FAR = 1.5
"""Times a blur's error, above which a loss to it calls for an explanation."""
GAIN = 1.5
"""How many times smaller errors are, in the geometric mean of the better half of the timesteps, where it explains."""
WORSE = 1.1
"""How many times larger they may be at one timestep."""
FLOOR = 0.005
"""Of the noise's variance: errors that a network makes for want of training, wherever it is asked."""
KNOWN = 0.9
"""Share of a blur's error below which an output holds more than a blur knows."""
SMALL, TIMES = 0.25, 3.0
"""An error that a network does not make where noise hides nearly all, if it denoises where there is less of it."""
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Other:
    """Another wiring of the same network; mean squared errors, each (images, timesteps).

    Attributes:
        errors: of its prediction.
        blur: of the blur of the same points.
        beside: of the declared wiring, brought to the same form.
    """

    errors: FloatArray
    blur: FloatArray
    beside: FloatArray


class Wiring(StrEnum):
    """What errors say."""

    RIGHT = "right"
    WRONG = "wrong"
    BLUR = "no better than a blur"


@dataclass(frozen=True, slots=True)
class WiringResult:
    """Whether a network is asked as it was trained.

    Attributes:
        wiring: right, wrong, or not to be told from a network that has not learned.
        remedy: the wiring that explains the errors; empty where none does.
    """

    wiring: Wiring
    remedy: str = ""


def loses_by_far(errors: FloatArray, blur: FloatArray) -> NDArray[np.bool_]:
    """(timesteps,): whether the error is clearly larger than a blur's, and by half; both (images, timesteps)."""
    far: NDArray[np.bool_] = _clearly_below(blur, errors) & (errors.mean(0) > FAR * blur.mean(0))
    return far


def judge_wiring(errors: FloatArray, blur: FloatArray, fitted: FloatArray, others: Mapping[str, Other]) -> WiringResult:
    """Compare a noise prediction with a blur, and with itself under other wirings.

    It is wrong where it loses to the blur by far at a timestep and (a) another wiring explains the same outputs far
    better, (b) it beats the blur nowhere while its outputs hold more than a blur knows, or (c) it denoises where there
    is little noise and not where there is more, which is learned first. A bad network is no wrong wiring.

    Args:
        errors: (images, timesteps) mean squared errors as the model is asked; timesteps from little noise to much.
        blur: (images, timesteps) those of the blur.
        fitted: (images, timesteps) errors of the best combination of output, input and a constant at each timestep.
        others: by what would have to be changed; without a lost timestep they are asked of a consistency function
            alone, whose errors leave room below the blur's.

    Source: the bar of DESIGN section 5, a pixelwise Gaussian; paired over images at significance 0.001.
    """
    wins, lost = _clearly_below(errors, blur), loses_by_far(errors, blur)
    asked = lost if lost.any() else np.ones_like(lost)
    gains = {name: _gain(asked, other) for name, other in others.items()}
    best = max(gains, key=gains.__getitem__, default="")
    if best and gains[best] >= np.log(GAIN):
        return WiringResult(Wiring.WRONG, best)
    if not lost.any():
        learned = wins.any() or not _clearly_below(blur, errors).any()
        return WiringResult(Wiring.RIGHT if learned else Wiring.BLUR)
    if not wins.any():
        known = _clearly_below(fitted, blur) & (fitted.mean(0) < KNOWN * blur.mean(0))
        return WiringResult(Wiring.WRONG if known.any() else Wiring.BLUR)
    mean, later = errors.mean(0), np.arange(len(wins)) > np.argmax(wins)
    blind = lost & later & (mean > SMALL) & (mean > TIMES * blur.mean(0))
    return WiringResult(Wiring.WRONG if blind.any() else Wiring.RIGHT)


def _gain(lost: NDArray[np.bool_], other: Other) -> float:
    """Logarithm of how much smaller errors are under another wiring; 0 where it does not explain them.

    Timesteps that either wiring loses to the blur by far tell nothing: there the network has not learned.
    """
    explains = _clearly_below(other.errors, other.blur).any() and _clearly_below(other.errors, other.beside)[lost].any()
    told = ~(lost & loses_by_far(other.errors, other.blur))
    mean, changed = other.beside.mean(0)[told], other.errors.mean(0)[told]
    if not explains or (changed > WORSE * mean + FLOOR).any():
        return 0.0
    return float(np.sort(np.log((mean + FLOOR) / (changed + FLOOR)))[len(mean) // 2 :].mean())


def _clearly_below(first: FloatArray, second: FloatArray) -> NDArray[np.bool_]:
    """(timesteps,): by a one-sided t-test of the logarithms, paired over images."""
    difference = np.log(np.maximum(first, TINY)) - np.log(np.maximum(second, TINY))
    count = len(difference)
    spread = np.maximum(difference.std(0, ddof=1), TINY) / np.sqrt(count)
    below: NDArray[np.bool_] = stdtr(count - 1, difference.mean(0) / spread) <= SIGNIFICANCE
    return below
