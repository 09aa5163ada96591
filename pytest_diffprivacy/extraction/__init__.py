"""Can training images be drawn out again? Generate, find the exact nearest training image, and judge the distance."""

from pytest_diffprivacy.extraction.adaptive import AdaptiveMatches, adaptive_distances
from pytest_diffprivacy.extraction.generate_and_filter import (
    CopyRule,
    Extraction,
    calibrate_rule,
    filter_generations,
)

__all__ = [
    "AdaptiveMatches",
    "CopyRule",
    "Extraction",
    "adaptive_distances",
    "calibrate_rule",
    "filter_generations",
]
