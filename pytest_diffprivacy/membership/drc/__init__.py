"""DRC: how well the model brings back what was taken away from an image. Scores, comparison, evidence and vote."""

from pytest_diffprivacy.membership.drc.compare import cosine, ssim
from pytest_diffprivacy.membership.drc.drc import drc, drc_scores, drc_task_scores
from pytest_diffprivacy.membership.drc.restored_images import Strip, control_scores, drc_strip
from pytest_diffprivacy.membership.drc.vote import DrcVote, allowed_false_positives, calibrate_vote

__all__ = [
    "DrcVote",
    "Strip",
    "allowed_false_positives",
    "calibrate_vote",
    "control_scores",
    "cosine",
    "drc",
    "drc_scores",
    "drc_strip",
    "drc_task_scores",
    "ssim",
]
