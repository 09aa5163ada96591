"""How are fewer training images brought back? Samplers and prompt changes, each with what its images cost."""

from pytest_diffprivacy.mitigation.alignment import AlignmentScorer, TextImageMap, fit_text_image_map
from pytest_diffprivacy.mitigation.attention_rescaling import AttentionRescaling
from pytest_diffprivacy.mitigation.closeness import Closeness, DetectorSimilarity, PixelDistance
from pytest_diffprivacy.mitigation.compare import (
    ComparedPrompts,
    Generated,
    MethodOutcome,
    MitigationComparison,
    all_methods,
    image_seeds,
    run_comparison,
)
from pytest_diffprivacy.mitigation.delayed_guidance import DelayedGuidance, DynamicGuidance
from pytest_diffprivacy.mitigation.embedding_optimization import (
    EmbeddingOptimization,
    OptimizedEmbedding,
    optimize_embedding,
    token_gradients,
)
from pytest_diffprivacy.mitigation.method import Cost, Mitigated, Mitigation, MitigationCard, Sampling
from pytest_diffprivacy.mitigation.planned import PlannedComparison
from pytest_diffprivacy.mitigation.prompt_augmentation import RandomNumberAddition, RandomTokenAddition
from pytest_diffprivacy.mitigation.sail import Sail, StartNoise, sail_paper
from pytest_diffprivacy.mitigation.sail_reference import SailReference, sail_reference
from pytest_diffprivacy.mitigation.unmitigated import Unmitigated

__all__ = [
    "AlignmentScorer",
    "AttentionRescaling",
    "Closeness",
    "ComparedPrompts",
    "Cost",
    "DelayedGuidance",
    "DetectorSimilarity",
    "DynamicGuidance",
    "EmbeddingOptimization",
    "Generated",
    "MethodOutcome",
    "Mitigated",
    "Mitigation",
    "MitigationCard",
    "MitigationComparison",
    "OptimizedEmbedding",
    "PixelDistance",
    "PlannedComparison",
    "RandomNumberAddition",
    "RandomTokenAddition",
    "Sail",
    "SailReference",
    "Sampling",
    "StartNoise",
    "TextImageMap",
    "Unmitigated",
    "all_methods",
    "fit_text_image_map",
    "image_seeds",
    "optimize_embedding",
    "run_comparison",
    "sail_paper",
    "sail_reference",
    "token_gradients",
]
