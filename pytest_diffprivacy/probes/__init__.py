"""Members, non-members and prompts: loading, digests, duplicates, and the validity of the split."""

from pytest_diffprivacy.probes.duplicates import Cluster, Duplicates, find_duplicates
from pytest_diffprivacy.probes.generations import StoredGenerations
from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.probe_set import ProbeSet
from pytest_diffprivacy.probes.prompt_set import PromptSet

__all__ = ["Cluster", "Duplicates", "ImageSet", "ProbeSet", "PromptSet", "StoredGenerations", "find_duplicates"]
