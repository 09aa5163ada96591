"""Can training images be drawn out again? Generate, find the exact nearest training image, and judge the distance."""

from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches, adaptive_distances
from pytest_diffprivacy.extraction.cliques import Clique, CliqueOutcome, find_clique, find_cliques
from pytest_diffprivacy.extraction.exhibits import Exhibit
from pytest_diffprivacy.extraction.generate_and_filter import (
    CopyRule,
    Extraction,
    calibrate_rule,
    filter_generations,
)
from pytest_diffprivacy.extraction.prompt_search import (
    AskedPrompt,
    PromptFindings,
    PromptSearch,
    choose_prompts,
    compare_cliques,
    search_generations,
)
from pytest_diffprivacy.extraction.reconstruction import (
    Reconstruction,
    fill_errors,
    reconstruct,
    reconstruction_errors,
)
from pytest_diffprivacy.extraction.replication import Against, Replication, equal_sides, measure_replication
from pytest_diffprivacy.extraction.training_images import eidetic_counts, outlierness

__all__ = [
    "AdaptiveMatches",
    "Against",
    "AskedPrompt",
    "Clique",
    "CliqueOutcome",
    "CopyRule",
    "Exhibit",
    "Extraction",
    "PromptFindings",
    "PromptSearch",
    "Reconstruction",
    "Replication",
    "adaptive_distances",
    "calibrate_rule",
    "choose_prompts",
    "compare_cliques",
    "eidetic_counts",
    "equal_sides",
    "fill_errors",
    "filter_generations",
    "find_clique",
    "find_cliques",
    "measure_replication",
    "outlierness",
    "reconstruct",
    "reconstruction_errors",
    "search_generations",
]
