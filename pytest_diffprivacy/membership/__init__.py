"""Was this image in the training set? One published attack a file; higher score = more likely member."""

from collections.abc import Mapping
from typing import Final

from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.membership.cdi import CdiSettings, cdi_logits
from pytest_diffprivacy.membership.cdi_features import cdi_features
from pytest_diffprivacy.membership.clid import ClidScale, clid, clid_scores, clid_terms, fit_clid_scale
from pytest_diffprivacy.membership.combine import cross_fitted_scores
from pytest_diffprivacy.membership.drc import (
    DrcVote,
    Strip,
    allowed_false_positives,
    calibrate_vote,
    control_scores,
    drc,
    drc_scores,
    drc_strip,
    drc_task_scores,
)
from pytest_diffprivacy.membership.gsa import GsaClassifier, gsa_attack, gsa_features, gsa_measure
from pytest_diffprivacy.membership.lira import (
    averaged_losses,
    leave_one_out,
    lira_attack,
    lira_scores,
    loss_measure,
)
from pytest_diffprivacy.membership.loss import loss, loss_scores
from pytest_diffprivacy.membership.pfami import pfami, pfami_scores
from pytest_diffprivacy.membership.pia import pia, pia_scores
from pytest_diffprivacy.membership.pian import pian, pian_scores
from pytest_diffprivacy.membership.quantile import quantile_attack
from pytest_diffprivacy.membership.rediffuse import rediffuse, rediffuse_scores
from pytest_diffprivacy.membership.secmi import secmi, secmi_scores
from pytest_diffprivacy.membership.shadow import Measure, PlannedShadows, Shadow, ShadowScores
from pytest_diffprivacy.membership.shadow_training import score_shadows, shadow_splits, train_shadows
from pytest_diffprivacy.membership.sima import sima, sima_scores
from pytest_diffprivacy.methods import Kind, Method, find_method
from pytest_diffprivacy.methods.registry import methods_in

ATTACKS: Final[Mapping[str, Method]] = methods_in(
    __name__,
    Kind.MEMBERSHIP,
    first=("loss", "secmi", "pia", "pian", "sima", "pfami", "rediffuse", "clid", "drc", "lira", "gsa"),
)


def find_attack(name: str) -> Method:
    """The attack of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    return find_method(Kind.MEMBERSHIP, name)


__all__ = [
    "ATTACKS",
    "Attack",
    "CdiSettings",
    "ClidScale",
    "DrcVote",
    "GsaClassifier",
    "Measure",
    "PlannedShadows",
    "Shadow",
    "ShadowScores",
    "Strip",
    "allowed_false_positives",
    "averaged_losses",
    "calibrate_vote",
    "cdi_features",
    "cdi_logits",
    "clid",
    "clid_scores",
    "clid_terms",
    "control_scores",
    "cross_fitted_scores",
    "drc",
    "drc_scores",
    "drc_strip",
    "drc_task_scores",
    "find_attack",
    "fit_clid_scale",
    "gsa_attack",
    "gsa_features",
    "gsa_measure",
    "leave_one_out",
    "lira_attack",
    "lira_scores",
    "loss",
    "loss_measure",
    "loss_scores",
    "pfami",
    "pfami_scores",
    "pia",
    "pia_scores",
    "pian",
    "pian_scores",
    "quantile_attack",
    "rediffuse",
    "rediffuse_scores",
    "score_shadows",
    "secmi",
    "secmi_scores",
    "shadow_splits",
    "sima",
    "sima_scores",
    "train_shadows",
]
