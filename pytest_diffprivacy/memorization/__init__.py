"""Memorization of prompts: does this prompt bring back one image? One published detector a file; higher = memorized."""

from collections.abc import Mapping
from typing import cast

from pytest_diffprivacy.memorization.anisotropy import anisotropy_scores
from pytest_diffprivacy.memorization.attention_entropy import attention_entropy_scores
from pytest_diffprivacy.memorization.bright_ending import bright_ending_scores
from pytest_diffprivacy.memorization.detector import Detector, detector
from pytest_diffprivacy.memorization.hessian_score import hessian_score_scores
from pytest_diffprivacy.memorization.layerwise_entropy import layerwise_entropy_scores
from pytest_diffprivacy.memorization.observation import PromptSampling
from pytest_diffprivacy.memorization.score_difference import score_difference_scores
from pytest_diffprivacy.memorization.tiled_l2 import tiled_l2_scores
from pytest_diffprivacy.memorization.watch import watch_prompts
from pytest_diffprivacy.methods import Kind
from pytest_diffprivacy.methods.registry import methods_in

_FIRST = ("hessian_score", "score_difference", "bright_ending", "layerwise_entropy", "attention_entropy", "tiled_l2")
DETECTORS = cast("Mapping[str, Detector]", methods_in(__name__, Kind.MEMORIZATION, first=_FIRST))
"""Every detector by its name."""

__all__ = [
    "DETECTORS",
    "Detector",
    "PromptSampling",
    "anisotropy_scores",
    "attention_entropy_scores",
    "bright_ending_scores",
    "detector",
    "hessian_score_scores",
    "layerwise_entropy_scores",
    "score_difference_scores",
    "tiled_l2_scores",
    "watch_prompts",
]
