"""Statistics: numbers and counts in, estimates with confidence bounds and verdicts out.

Needs numpy and scipy only, knows no model, and is the only room that compares a number with a limit.
Result types and rarer functions (imported `as` themselves) may be imported from here as well.
"""

import pkgutil
from importlib import import_module

from pytest_diffprivacy.statistics.auroc import Auroc as Auroc
from pytest_diffprivacy.statistics.auroc import auroc, probes_needed_for_auroc
from pytest_diffprivacy.statistics.binomial import binomial_lower, binomial_upper
from pytest_diffprivacy.statistics.controls import ControlResult as ControlResult
from pytest_diffprivacy.statistics.controls import check_coherence, groups_agree, halves_agree, planted_found
from pytest_diffprivacy.statistics.controls import check_points as check_points
from pytest_diffprivacy.statistics.copies import CopyRate as CopyRate
from pytest_diffprivacy.statistics.copies import copy_rate, is_copy
from pytest_diffprivacy.statistics.copies import early_copy_rate as early_copy_rate
from pytest_diffprivacy.statistics.copies import running_copy_rate as running_copy_rate
from pytest_diffprivacy.statistics.data_copying import DataCopying as DataCopying
from pytest_diffprivacy.statistics.data_copying import data_copying
from pytest_diffprivacy.statistics.dataset_inference import dataset_inference
from pytest_diffprivacy.statistics.dcr import DcrShare as DcrShare
from pytest_diffprivacy.statistics.dcr import dcr_share, dcr_share_of_counts
from pytest_diffprivacy.statistics.detector import CorrectedRate as CorrectedRate
from pytest_diffprivacy.statistics.detector import Detector, corrected_rate
from pytest_diffprivacy.statistics.epsilon import epsilon_lower_bound, gaussian_epsilon
from pytest_diffprivacy.statistics.epsilon import largest_provable_epsilon as largest_provable_epsilon
from pytest_diffprivacy.statistics.erasure import ErasureStatistic as ErasureStatistic
from pytest_diffprivacy.statistics.excess_tpr import ExcessTpr as ExcessTpr
from pytest_diffprivacy.statistics.excess_tpr import excess_tpr
from pytest_diffprivacy.statistics.family import FamilyTpr as FamilyTpr
from pytest_diffprivacy.statistics.family import family_test, family_tpr, probes_needed_for_tpr
from pytest_diffprivacy.statistics.family import tpr_pass_needs as tpr_pass_needs
from pytest_diffprivacy.statistics.group_sequential import GroupSequentialAuroc as GroupSequentialAuroc
from pytest_diffprivacy.statistics.match_threshold import MatchThreshold as MatchThreshold
from pytest_diffprivacy.statistics.match_threshold import false_match_threshold
from pytest_diffprivacy.statistics.mean_difference import MeanDifference as MeanDifference
from pytest_diffprivacy.statistics.mean_difference import mean_difference
from pytest_diffprivacy.statistics.one_run import OneRunEpsilon as OneRunEpsilon
from pytest_diffprivacy.statistics.one_run import correct_guesses as correct_guesses
from pytest_diffprivacy.statistics.one_run import guesses_needed, one_run_epsilon
from pytest_diffprivacy.statistics.one_run import one_run_p_value as one_run_p_value
from pytest_diffprivacy.statistics.one_run_gaussian import GaussianOneRun as GaussianOneRun
from pytest_diffprivacy.statistics.one_run_gaussian import gaussian_canaries_needed as gaussian_canaries_needed
from pytest_diffprivacy.statistics.one_run_gaussian import gaussian_mu as gaussian_mu
from pytest_diffprivacy.statistics.one_run_gaussian import one_run_fdp
from pytest_diffprivacy.statistics.p_values import exceedance_p_values, holm
from pytest_diffprivacy.statistics.p_values import p_value_from_bounds as p_value_from_bounds
from pytest_diffprivacy.statistics.paired import PairedChange as PairedChange
from pytest_diffprivacy.statistics.paired import mean_change, mean_over_prompts, relative_loss, share_left
from pytest_diffprivacy.statistics.paired_tests import McNemar as McNemar
from pytest_diffprivacy.statistics.paired_tests import auroc_difference, mcnemar
from pytest_diffprivacy.statistics.paired_tests import resampled_auroc_difference as resampled_auroc_difference
from pytest_diffprivacy.statistics.prompt_rate import PromptRate as PromptRate
from pytest_diffprivacy.statistics.prompt_rate import prompt_rate
from pytest_diffprivacy.statistics.ranks import Ranks as Ranks
from pytest_diffprivacy.statistics.ranks import ranks
from pytest_diffprivacy.statistics.ranks import values_needed as values_needed
from pytest_diffprivacy.statistics.rate import RateEstimate as RateEstimate
from pytest_diffprivacy.statistics.rate import excess_rate, rate, trials_needed
from pytest_diffprivacy.statistics.rate import excess_trials_needed as excess_trials_needed
from pytest_diffprivacy.statistics.recovered_share import RecoveredShareStatistic as RecoveredShareStatistic
from pytest_diffprivacy.statistics.roc import roc_band, roc_curve, score_histogram
from pytest_diffprivacy.statistics.sequential import PairOrder as PairOrder
from pytest_diffprivacy.statistics.sequential import SequentialTest, sequential_mean
from pytest_diffprivacy.statistics.sequential import pair_order as pair_order
from pytest_diffprivacy.statistics.sequential import pair_outcomes as pair_outcomes
from pytest_diffprivacy.statistics.similarity import AlikeRate as AlikeRate
from pytest_diffprivacy.statistics.similarity import alike_rate
from pytest_diffprivacy.statistics.statistic import STATISTICS, Statistic, recompute
from pytest_diffprivacy.statistics.tpr import TprAtFpr as TprAtFpr
from pytest_diffprivacy.statistics.tpr import nonmembers_needed, tpr_at_fpr
from pytest_diffprivacy.statistics.verdict import Decision, Measured, Verdict, decide

__all__ = [
    "STATISTICS",
    "Decision",
    "Detector",
    "Measured",
    "SequentialTest",
    "Statistic",
    "Verdict",
    "alike_rate",
    "auroc",
    "auroc_difference",
    "binomial_lower",
    "binomial_upper",
    "check_coherence",
    "copy_rate",
    "corrected_rate",
    "data_copying",
    "dataset_inference",
    "dcr_share",
    "dcr_share_of_counts",
    "decide",
    "epsilon_lower_bound",
    "exceedance_p_values",
    "excess_rate",
    "excess_tpr",
    "false_match_threshold",
    "family_test",
    "family_tpr",
    "gaussian_epsilon",
    "groups_agree",
    "guesses_needed",
    "halves_agree",
    "holm",
    "is_copy",
    "mcnemar",
    "mean_change",
    "mean_difference",
    "mean_over_prompts",
    "nonmembers_needed",
    "one_run_epsilon",
    "one_run_fdp",
    "planted_found",
    "probes_needed_for_auroc",
    "probes_needed_for_tpr",
    "prompt_rate",
    "ranks",
    "rate",
    "recompute",
    "relative_loss",
    "roc_band",
    "roc_curve",
    "score_histogram",
    "sequential_mean",
    "share_left",
    "tpr_at_fpr",
    "trials_needed",
]

for _found in pkgutil.iter_modules(__path__):  # whoever reads a record finds every statistic by its name
    import_module(f"{__name__}.{_found.name}")
