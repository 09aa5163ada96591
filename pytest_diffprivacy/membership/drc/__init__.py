"""Does the model bring back what was taken away from an image? Degradation, restoration, comparison, vote of DRC."""

from pytest_diffprivacy.membership.drc.compare import cosine, ssim
from pytest_diffprivacy.membership.drc.controls import control_scores
from pytest_diffprivacy.membership.drc.drc import DRC, drc_scores, drc_task_scores
from pytest_diffprivacy.membership.drc.strip import Strip, drc_strip
from pytest_diffprivacy.membership.drc.vote import DrcVote, allowed_false_positives, calibrate_vote
from pytest_diffprivacy.restoration.degrade import Degradation, rms_hidden
from pytest_diffprivacy.restoration.masks import Boxes, GivenMasks, Half, RandomPatches
from pytest_diffprivacy.restoration.operators import Blur, Downsample
from pytest_diffprivacy.restoration.plan import RestorationPlan
from pytest_diffprivacy.restoration.saliency import Saliency

__all__ = [
    "DRC",
    "Blur",
    "Boxes",
    "Degradation",
    "Downsample",
    "DrcVote",
    "GivenMasks",
    "Half",
    "RandomPatches",
    "RestorationPlan",
    "Saliency",
    "Strip",
    "allowed_false_positives",
    "calibrate_vote",
    "control_scores",
    "cosine",
    "drc_scores",
    "drc_strip",
    "drc_task_scores",
    "rms_hidden",
    "ssim",
]
