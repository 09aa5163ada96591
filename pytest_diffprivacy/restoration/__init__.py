"""Restoration: what is taken away from an image, and what a model, or a fill without any model, puts in its place."""

from pytest_diffprivacy.restoration.degrade import Blur, Degradation, Downsample
from pytest_diffprivacy.restoration.masks import Boxes, GivenMasks, Half, RandomPatches, Region
from pytest_diffprivacy.restoration.plan import RestorationPlan
from pytest_diffprivacy.restoration.routines import restore_ddim, restore_ddnm, restore_repaint
from pytest_diffprivacy.restoration.saliency import Saliency

__all__ = [
    "Blur",
    "Boxes",
    "Degradation",
    "Downsample",
    "GivenMasks",
    "Half",
    "RandomPatches",
    "Region",
    "RestorationPlan",
    "Saliency",
    "restore_ddim",
    "restore_ddnm",
    "restore_repaint",
]
