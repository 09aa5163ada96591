"""Members, non-members and prompts: loading, digests, duplicates, and the validity of the split."""

from pytest_diffprivacy.probes.blind_baseline import BlindBaseline, blind_baseline
from pytest_diffprivacy.probes.canaries import CanarySet, plant_canaries
from pytest_diffprivacy.probes.duplicates import Duplicates, find_duplicates
from pytest_diffprivacy.probes.generations import StoredGenerations
from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.probe_set import ProbeSet
from pytest_diffprivacy.probes.prompt_files import read_prompts
from pytest_diffprivacy.probes.prompt_set import PromptSet
from pytest_diffprivacy.probes.score_table import ScoreTable
from pytest_diffprivacy.probes.validity import SplitValidity, split_validity

__all__ = [
    "BlindBaseline",
    "CanarySet",
    "Duplicates",
    "ImageSet",
    "ProbeSet",
    "PromptSet",
    "ScoreTable",
    "SplitValidity",
    "StoredGenerations",
    "blind_baseline",
    "find_duplicates",
    "plant_canaries",
    "read_prompts",
    "split_validity",
]
