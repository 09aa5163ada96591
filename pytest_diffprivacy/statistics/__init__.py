"""Statistics: numbers and counts in, estimates with confidence bounds and verdicts out.

Needs numpy and scipy only, knows no model, and is the only room that compares a number with a limit.
"""

from pytest_diffprivacy.statistics.auroc import Auroc, AurocStatistic, auroc, probes_needed_for_auroc
from pytest_diffprivacy.statistics.binomial import binomial_lower, binomial_upper
from pytest_diffprivacy.statistics.controls import (
    Coherence,
    ControlResult,
    check_coherence,
    check_points,
    groups_agree,
    halves_agree,
    planted_found,
)
from pytest_diffprivacy.statistics.copies import (
    CopyRate,
    MatchThreshold,
    copy_rate,
    false_match_threshold,
    is_copy,
    running_copy_rate,
)
from pytest_diffprivacy.statistics.data_copying import DataCopying, data_copying
from pytest_diffprivacy.statistics.dataset_inference import DatasetInference, dataset_inference
from pytest_diffprivacy.statistics.dcr import DcrShare, dcr_share, dcr_share_of_counts
from pytest_diffprivacy.statistics.detector import CorrectedRate, Detector, corrected_rate
from pytest_diffprivacy.statistics.epsilon import (
    EpsilonBound,
    epsilon_lower_bound,
    gaussian_epsilon,
    largest_provable_epsilon,
)
from pytest_diffprivacy.statistics.excess_tpr import ExcessTpr, excess_tpr
from pytest_diffprivacy.statistics.family import (
    FamilyTest,
    FamilyTpr,
    FamilyTprStatistic,
    family_test,
    family_tpr,
    probes_needed_for_tpr,
    tpr_pass_needs,
)
from pytest_diffprivacy.statistics.mean_difference import MeanDifference, mean_difference
from pytest_diffprivacy.statistics.one_run import (
    OneRunEpsilon,
    correct_guesses,
    guesses_needed,
    one_run_epsilon,
    one_run_p_value,
)
from pytest_diffprivacy.statistics.one_run_gaussian import (
    GaussianOneRun,
    gaussian_canaries_needed,
    gaussian_mu,
    gaussian_one_run_epsilon,
    gaussian_one_run_p_value,
)
from pytest_diffprivacy.statistics.p_values import Holm, exceedance_p_values, holm, p_value_from_bounds
from pytest_diffprivacy.statistics.paired import (
    PairedChange,
    PromptMean,
    mean_change,
    mean_over_prompts,
    relative_loss,
    share_left,
)
from pytest_diffprivacy.statistics.paired_tests import (
    AurocDifference,
    McNemar,
    ResampledDifference,
    auroc_difference,
    mcnemar,
    resampled_auroc_difference,
)
from pytest_diffprivacy.statistics.prompt_rate import PromptRate, prompt_rate
from pytest_diffprivacy.statistics.ranks import Ranks, ranks, values_needed
from pytest_diffprivacy.statistics.rate import (
    ExcessRate,
    RateEstimate,
    RateStatistic,
    Trials,
    excess_rate,
    excess_trials_needed,
    rate,
    trials_needed,
)
from pytest_diffprivacy.statistics.roc import (
    Histogram,
    RocBand,
    RocCurve,
    roc_band,
    roc_curve,
    score_histogram,
)
from pytest_diffprivacy.statistics.sequential import (
    PairOrder,
    SequentialMean,
    SequentialTest,
    pair_order,
    pair_outcomes,
    sequential_mean,
)
from pytest_diffprivacy.statistics.similarity import AlikeRate, alike_rate
from pytest_diffprivacy.statistics.statistic import STATISTICS, Statistic, Stored, recompute, recorded_arguments
from pytest_diffprivacy.statistics.tpr import TprAtFpr, nonmembers_needed, tpr_at_fpr
from pytest_diffprivacy.statistics.verdict import Decision, Measured, Verdict, decide

__all__ = [
    "STATISTICS",
    "AlikeRate",
    "Auroc",
    "AurocDifference",
    "AurocStatistic",
    "Coherence",
    "ControlResult",
    "CopyRate",
    "CorrectedRate",
    "DataCopying",
    "DatasetInference",
    "DcrShare",
    "Decision",
    "Detector",
    "EpsilonBound",
    "ExcessRate",
    "ExcessTpr",
    "FamilyTest",
    "FamilyTpr",
    "FamilyTprStatistic",
    "GaussianOneRun",
    "Histogram",
    "Holm",
    "MatchThreshold",
    "McNemar",
    "MeanDifference",
    "Measured",
    "OneRunEpsilon",
    "PairOrder",
    "PairedChange",
    "PromptMean",
    "PromptRate",
    "Ranks",
    "RateEstimate",
    "RateStatistic",
    "ResampledDifference",
    "RocBand",
    "RocCurve",
    "SequentialMean",
    "SequentialTest",
    "Statistic",
    "Stored",
    "TprAtFpr",
    "Trials",
    "Verdict",
    "alike_rate",
    "auroc",
    "auroc_difference",
    "binomial_lower",
    "binomial_upper",
    "check_coherence",
    "check_points",
    "copy_rate",
    "correct_guesses",
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
    "excess_trials_needed",
    "false_match_threshold",
    "family_test",
    "family_tpr",
    "gaussian_canaries_needed",
    "gaussian_epsilon",
    "gaussian_mu",
    "gaussian_one_run_epsilon",
    "gaussian_one_run_p_value",
    "groups_agree",
    "guesses_needed",
    "halves_agree",
    "holm",
    "is_copy",
    "largest_provable_epsilon",
    "mcnemar",
    "mean_change",
    "mean_difference",
    "mean_over_prompts",
    "nonmembers_needed",
    "one_run_epsilon",
    "one_run_p_value",
    "p_value_from_bounds",
    "pair_order",
    "pair_outcomes",
    "planted_found",
    "probes_needed_for_auroc",
    "probes_needed_for_tpr",
    "prompt_rate",
    "ranks",
    "rate",
    "recompute",
    "recorded_arguments",
    "relative_loss",
    "resampled_auroc_difference",
    "roc_band",
    "roc_curve",
    "running_copy_rate",
    "score_histogram",
    "sequential_mean",
    "share_left",
    "tpr_at_fpr",
    "tpr_pass_needs",
    "trials_needed",
    "values_needed",
]
