"""Extraction: generate, find the exact nearest training image, and measure whether it comes back."""

from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches, adaptive_distances
from pytest_diffprivacy.extraction.cliques import find_cliques
from pytest_diffprivacy.extraction.contrasted_guidance import (
    ContrastedGenerator,
    contrasted_eps,
    contrasted_path,
    contrasted_walk,
)
from pytest_diffprivacy.extraction.copy_rule import CopyRule, calibrate_rule
from pytest_diffprivacy.extraction.generate_and_filter import Extraction, filter_generations
from pytest_diffprivacy.extraction.prompt_search import PromptSearch, choose_prompts, search_generations
from pytest_diffprivacy.extraction.reconstruction import fill_errors, reconstruct, reconstruction_errors
from pytest_diffprivacy.extraction.replication import equal_sides, measure_replication
from pytest_diffprivacy.extraction.similarity_cliques import SimilarityCliques, similarity_cliques
from pytest_diffprivacy.extraction.space import eidetic_counts, outlierness

__all__ = [
    "AdaptiveMatches",
    "ContrastedGenerator",
    "CopyRule",
    "Extraction",
    "PromptSearch",
    "SimilarityCliques",
    "adaptive_distances",
    "calibrate_rule",
    "choose_prompts",
    "contrasted_eps",
    "contrasted_path",
    "contrasted_walk",
    "eidetic_counts",
    "equal_sides",
    "fill_errors",
    "filter_generations",
    "find_cliques",
    "measure_replication",
    "outlierness",
    "reconstruct",
    "reconstruction_errors",
    "search_generations",
    "similarity_cliques",
]
