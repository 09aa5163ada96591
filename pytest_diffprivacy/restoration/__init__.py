"""What is taken away from an image, and what is put in its place: by the model under audit, or without any model?"""

from pytest_diffprivacy.restoration.degrade import Batch, Degradation, Degraded
from pytest_diffprivacy.restoration.distance import rms_hidden
from pytest_diffprivacy.restoration.fills import FILLS, Fill, fill_in
from pytest_diffprivacy.restoration.masks import Boxes, GivenMasks, Half, RandomPatches, Region
from pytest_diffprivacy.restoration.named import Masks, find_degradations
from pytest_diffprivacy.restoration.operators import Blur, Downsample
from pytest_diffprivacy.restoration.plan import Restoration, RestorationPlan, Start
from pytest_diffprivacy.restoration.routines import restore_ddim, restore_ddnm, restore_repaint
from pytest_diffprivacy.restoration.saliency import Saliency

__all__ = [
    "FILLS",
    "Batch",
    "Blur",
    "Boxes",
    "Degradation",
    "Degraded",
    "Downsample",
    "Fill",
    "GivenMasks",
    "Half",
    "Masks",
    "RandomPatches",
    "Region",
    "Restoration",
    "RestorationPlan",
    "Saliency",
    "Start",
    "fill_in",
    "find_degradations",
    "restore_ddim",
    "restore_ddnm",
    "restore_repaint",
    "rms_hidden",
]
