"""Does this prompt bring back one image? One published detector a file; higher score = memorized."""

from collections.abc import Mapping
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.memorization.anisotropy import ANISOTROPY, anisotropy_scores
from pytest_diffprivacy.memorization.attention_entropy import ATTENTION_ENTROPY, attention_entropy_scores
from pytest_diffprivacy.memorization.bright_ending import BRIGHT_ENDING, bright_ending_scores
from pytest_diffprivacy.memorization.detector import Asked, Detector
from pytest_diffprivacy.memorization.hessian_score import HESSIAN_SCORE, hessian_score_scores
from pytest_diffprivacy.memorization.layerwise_entropy import LAYERWISE_ENTROPY, layerwise_entropy_scores
from pytest_diffprivacy.memorization.run import Sampling, watch_prompts
from pytest_diffprivacy.memorization.score_difference import SCORE_DIFFERENCE, score_difference_scores
from pytest_diffprivacy.memorization.tiled_l2 import TILED_L2, tiled_l2_scores

DETECTORS: Final[Mapping[str, Detector]] = {
    detector.name: detector
    for detector in (
        HESSIAN_SCORE,
        SCORE_DIFFERENCE,
        BRIGHT_ENDING,
        LAYERWISE_ENTROPY,
        ATTENTION_ENTROPY,
        TILED_L2,
        ANISOTROPY,
    )
}


def find_detector(name: str) -> Detector:
    """The detector of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    try:
        return DETECTORS[name]
    except KeyError:
        raise UsageError(f"`detector` must be one of {', '.join(DETECTORS)}, got {name!r}.") from None


__all__ = [
    "DETECTORS",
    "Asked",
    "Detector",
    "Sampling",
    "anisotropy_scores",
    "attention_entropy_scores",
    "bright_ending_scores",
    "find_detector",
    "hessian_score_scores",
    "layerwise_entropy_scores",
    "score_difference_scores",
    "tiled_l2_scores",
    "watch_prompts",
]
