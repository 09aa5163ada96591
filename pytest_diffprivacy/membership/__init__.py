"""Membership: was this image in the training set? One published attack a file; higher score = more likely member.

Each attack is a method, called with parameters a value: `secmi(timestep=50)`; `secmi_scores(model, images)` and the
like, its scores as a function, are imported from here as well.
"""

from collections.abc import Mapping
from typing import Final

from pytest_diffprivacy.membership.attack import Attack
from pytest_diffprivacy.membership.cdi import CdiSettings as CdiSettings
from pytest_diffprivacy.membership.cdi import cdi_logits as cdi_logits
from pytest_diffprivacy.membership.cdi_features import cdi_features
from pytest_diffprivacy.membership.clid import ClidScale as ClidScale
from pytest_diffprivacy.membership.clid import clid, fit_clid_scale
from pytest_diffprivacy.membership.clid import clid_scores as clid_scores
from pytest_diffprivacy.membership.clid import clid_terms as clid_terms
from pytest_diffprivacy.membership.combine import cross_fitted_scores as cross_fitted_scores
from pytest_diffprivacy.membership.drc import control_scores as control_scores
from pytest_diffprivacy.membership.drc import drc
from pytest_diffprivacy.membership.drc import drc_scores as drc_scores
from pytest_diffprivacy.membership.drc import drc_task_scores as drc_task_scores
from pytest_diffprivacy.membership.frequency_filter import FrequencyFilter
from pytest_diffprivacy.membership.frequency_filter import frequency_filter as frequency_filter
from pytest_diffprivacy.membership.gsa import gsa_attack, gsa_measure
from pytest_diffprivacy.membership.gsa import gsa_features as gsa_features
from pytest_diffprivacy.membership.latent_mask import LatentMask
from pytest_diffprivacy.membership.latent_mask import latent_mask as latent_mask
from pytest_diffprivacy.membership.latent_mask import latent_stretch as latent_stretch
from pytest_diffprivacy.membership.lira import averaged_losses as averaged_losses
from pytest_diffprivacy.membership.lira import lira_attack, loss_measure
from pytest_diffprivacy.membership.lira import lira_scores as lira_scores
from pytest_diffprivacy.membership.loss import loss
from pytest_diffprivacy.membership.loss import loss_scores as loss_scores
from pytest_diffprivacy.membership.pfami import pfami
from pytest_diffprivacy.membership.pfami import pfami_scores as pfami_scores
from pytest_diffprivacy.membership.pia import pia
from pytest_diffprivacy.membership.pia import pia_scores as pia_scores
from pytest_diffprivacy.membership.pian import pian
from pytest_diffprivacy.membership.pian import pian_scores as pian_scores
from pytest_diffprivacy.membership.quantile import quantile_attack
from pytest_diffprivacy.membership.ranges import range_attack
from pytest_diffprivacy.membership.ratio import log_ratio_scores as log_ratio_scores
from pytest_diffprivacy.membership.ratio import ratio_attack
from pytest_diffprivacy.membership.ratio_of_probabilities import population_share as population_share
from pytest_diffprivacy.membership.ratio_of_probabilities import published_ratio_scores as published_ratio_scores
from pytest_diffprivacy.membership.ratio_of_probabilities import ratio_scores as ratio_scores
from pytest_diffprivacy.membership.reconstruction_similarity import (
    fitted_similarity_scores as fitted_similarity_scores,
)
from pytest_diffprivacy.membership.reconstruction_similarity import reconstruction
from pytest_diffprivacy.membership.reconstruction_similarity import (
    reconstruction_similarity as reconstruction_similarity,
)
from pytest_diffprivacy.membership.rediffuse import rediffuse
from pytest_diffprivacy.membership.rediffuse import rediffuse_scores as rediffuse_scores
from pytest_diffprivacy.membership.secmi import secmi
from pytest_diffprivacy.membership.secmi import secmi_scores as secmi_scores
from pytest_diffprivacy.membership.shadow import Measure, Shadow, ShadowScores
from pytest_diffprivacy.membership.shadow_training import score_shadows, train_shadows
from pytest_diffprivacy.membership.shadow_training import shadow_splits as shadow_splits
from pytest_diffprivacy.membership.sima import sima
from pytest_diffprivacy.membership.sima import sima_scores as sima_scores
from pytest_diffprivacy.membership.trimmed_mean import Trim as Trim
from pytest_diffprivacy.membership.trimmed_mean import trimmed_mean as trimmed_mean
from pytest_diffprivacy.membership.trimmed_mean import tune_trim as tune_trim
from pytest_diffprivacy.membership.usage_share import matched_scores as matched_scores
from pytest_diffprivacy.membership.usage_share import usage_share as usage_share
from pytest_diffprivacy.methods import Kind, Method
from pytest_diffprivacy.methods.registry import methods_in

ATTACKS: Final[Mapping[str, Method]] = methods_in(
    __name__,
    Kind.MEMBERSHIP,
    first=("loss", "secmi", "pia", "pian", "sima", "pfami", "rediffuse", "clid", "drc", "lira", "ratio", "gsa"),
)


__all__ = [
    "ATTACKS",
    "Attack",
    "FrequencyFilter",
    "LatentMask",
    "Measure",
    "Shadow",
    "ShadowScores",
    "cdi_features",
    "clid",
    "drc",
    "fit_clid_scale",
    "gsa_attack",
    "gsa_measure",
    "lira_attack",
    "loss",
    "loss_measure",
    "pfami",
    "pia",
    "pian",
    "quantile_attack",
    "range_attack",
    "ratio_attack",
    "reconstruction",
    "rediffuse",
    "score_shadows",
    "secmi",
    "sima",
    "train_shadows",
]
