"""Members, non-members and prompts: loading, digests, and the validity of the split."""

from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.probe_set import ProbeSet

__all__ = ["ImageSet", "ProbeSet"]
