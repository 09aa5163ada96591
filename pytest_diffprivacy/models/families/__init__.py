"""Which text-to-image pipelines are spoken to, and in which words? A description a family, found by pipeline class."""

from pytest_diffprivacy.models.families.family import Family
from pytest_diffprivacy.models.families.registry import FAMILIES, REFUSED, family_of

__all__ = ["FAMILIES", "REFUSED", "Family", "family_of"]
