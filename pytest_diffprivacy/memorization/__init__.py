"""Memorization of prompts: does this prompt bring back one image? One published detector a file; higher = memorized."""

from pytest_diffprivacy.memorization.anisotropy import anisotropy_scores
from pytest_diffprivacy.memorization.attention_entropy import attention_entropy_scores
from pytest_diffprivacy.memorization.bright_ending import bright_ending_scores
from pytest_diffprivacy.memorization.detector import DETECTORS
from pytest_diffprivacy.memorization.hessian_score import hessian_score_scores
from pytest_diffprivacy.memorization.layerwise_entropy import layerwise_entropy_scores
from pytest_diffprivacy.memorization.observation import PromptSampling
from pytest_diffprivacy.memorization.score_difference import score_difference_scores
from pytest_diffprivacy.memorization.tiled_l2 import tiled_l2_scores
from pytest_diffprivacy.memorization.watch import watch_prompts

for _name in (
    "hessian_score",
    "score_difference",
    "bright_ending",
    "layerwise_entropy",
    "attention_entropy",
    "tiled_l2",
):
    DETECTORS[_name] = DETECTORS.pop(_name)
DETECTORS["anisotropy"] = DETECTORS.pop("anisotropy")

__all__ = [
    "DETECTORS",
    "PromptSampling",
    "anisotropy_scores",
    "attention_entropy_scores",
    "bright_ending_scores",
    "hessian_score_scores",
    "layerwise_entropy_scores",
    "score_difference_scores",
    "tiled_l2_scores",
    "watch_prompts",
]
