"""Mitigation: samplers and prompt changes that are to bring back fewer training images, each with what it costs."""

from pytest_diffprivacy.mitigation.alignment import AlignmentScorer, fit_text_image_map
from pytest_diffprivacy.mitigation.attention_rescaling import AttentionRescaling
from pytest_diffprivacy.mitigation.closeness import Closeness, DetectorSimilarity, PixelDistance
from pytest_diffprivacy.mitigation.compare import MitigationComparison
from pytest_diffprivacy.mitigation.delayed_guidance import DelayedGuidance, DynamicGuidance
from pytest_diffprivacy.mitigation.embedding_optimization import EmbeddingOptimization, token_gradients
from pytest_diffprivacy.mitigation.method import (
    DdimSampling,
    Mitigated,
    Mitigation,
    MitigationCard,
    SamplingCost,
    Unmitigated,
    mitigation,
)
from pytest_diffprivacy.mitigation.prompt_augmentation import RandomNumberAddition, RandomTokenAddition
from pytest_diffprivacy.mitigation.sail import Sail
from pytest_diffprivacy.mitigation.sail_reference import SailReference

__all__ = [
    "AlignmentScorer",
    "AttentionRescaling",
    "Closeness",
    "DdimSampling",
    "DelayedGuidance",
    "DetectorSimilarity",
    "DynamicGuidance",
    "EmbeddingOptimization",
    "Mitigated",
    "Mitigation",
    "MitigationCard",
    "MitigationComparison",
    "PixelDistance",
    "RandomNumberAddition",
    "RandomTokenAddition",
    "Sail",
    "SailReference",
    "SamplingCost",
    "Unmitigated",
    "fit_text_image_map",
    "mitigation",
    "token_gradients",
]
