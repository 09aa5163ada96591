"""Can training images be drawn out again? Generate, find the exact nearest training image, and judge the distance."""

from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches, adaptive_distances
from pytest_diffprivacy.extraction.generate_and_filter import (
    CopyRule,
    Extraction,
    calibrate_rule,
    filter_generations,
)
from pytest_diffprivacy.extraction.reconstruction import (
    Reconstruction,
    fill_errors,
    reconstruct,
    reconstruction_errors,
)
from pytest_diffprivacy.extraction.replication import Against, Replication, equal_sides, measure_replication

__all__ = [
    "AdaptiveMatches",
    "Against",
    "CopyRule",
    "Extraction",
    "Reconstruction",
    "Replication",
    "adaptive_distances",
    "calibrate_rule",
    "equal_sides",
    "fill_errors",
    "filter_generations",
    "measure_replication",
    "reconstruct",
    "reconstruction_errors",
]
