"""Can a verdict be had again from what was stored? Statistics by name, from arrays and plain arguments alone.

A claim's record names a statistic, the stored arrays it took and its arguments. `recompute` turns these into the same
value and bounds, without the model, the images or any attack. A new kind of claim adds its statistic to `STATISTICS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import InsufficientProbes, UsageError
from pytest_diffprivacy.statistics.alike import alike_rate
from pytest_diffprivacy.statistics.calibration import false_match_threshold
from pytest_diffprivacy.statistics.copies import copy_rate, is_copy, running_copy_rate
from pytest_diffprivacy.statistics.dataset_inference import SplitLogits, dataset_inference, dataset_p_value
from pytest_diffprivacy.statistics.dcr import dcr_share, dcr_share_of_counts
from pytest_diffprivacy.statistics.detector import Detector, corrected_rate
from pytest_diffprivacy.statistics.excess_tpr import excess_tpr
from pytest_diffprivacy.statistics.holm import p_value_from_bounds
from pytest_diffprivacy.statistics.mean_difference import mean_difference
from pytest_diffprivacy.statistics.one_run import correct_guesses, one_run_epsilon
from pytest_diffprivacy.statistics.one_run_gaussian import gaussian_one_run_epsilon
from pytest_diffprivacy.statistics.paired import relative_loss, share_left
from pytest_diffprivacy.statistics.prompts import prompt_rate
from pytest_diffprivacy.statistics.sequential import sequential_mean
from pytest_diffprivacy.statistics.statistic import STATISTICS as VALUES
from pytest_diffprivacy.statistics.verdict import Measured

Stored: TypeAlias = Mapping[str, Sequence[NDArray[Any]]]
Arguments: TypeAlias = Mapping[str, Any]


def recompute(statistic: str, arrays: Stored, arguments: Arguments) -> Measured:
    """Compute a statistic again.

    Args:
        statistic: a name in `STATISTICS`.
        arrays: role -> the arrays that play it, in the order of the record.
        arguments: the statistic's other arguments as they were recorded.

    Raises:
        UsageError: no such statistic, or arrays or arguments that it does not take.
        InsufficientProbes: the statistic is undefined for so few probes, as it was when the claim was judged.

    Source: ours.
    """
    if statistic not in STATISTICS:
        raise UsageError(f"`statistic` must be one of {', '.join(STATISTICS)}, got {statistic!r}.")
    try:
        return STATISTICS[statistic](arrays, arguments)
    except (KeyError, TypeError) as error:
        raise UsageError(f"The arrays or arguments of {statistic} do not fit it: {error}.") from error


def recomputed_p_value(statistic: str, arrays: Stored, arguments: Arguments, limit: float) -> float | None:
    """Return the smallest significance at which the statistic's lower bound lies above the limit.

    Args:
        statistic: a name in `STATISTICS`.
        arrays: role -> the arrays that play it, in the order of the record.
        arguments: the statistic's other arguments as they were recorded.
        limit: the claim's limit.

    Returns:
        The p-value of "at most the limit"; None where the statistic takes no confidence.

    Raises:
        UsageError: no such statistic, or arrays or arguments that it does not take.

    Source: Inverts the bounds of METHODS 7.
    """
    if "confidence" not in arguments:
        return None
    if statistic == "dataset_inference":  # known without a search, which permutations would make slow
        own = {name: value for name, value in arguments.items() if name != "confidence"}
        return dataset_p_value(_split_logits(arrays), limit, **own)

    def lower(confidence: float) -> float:
        try:
            return recompute(statistic, arrays, {**arguments, "confidence": confidence}).low
        except InsufficientProbes:  # undefined at such a confidence: it refutes nothing
            return -math.inf

    return p_value_from_bounds(lower, limit)


def _one(arrays: Stored, role: str) -> NDArray[Any]:
    (array,) = arrays[role]
    return array


def _one_run(arrays: Stored, arguments: Arguments) -> Measured:
    counts, rest = _guesses(arrays, arguments)
    return one_run_epsilon(*counts, **rest)


def _one_run_gaussian(arrays: Stored, arguments: Arguments) -> Measured:
    counts, rest = _guesses(arrays, arguments)
    return gaussian_one_run_epsilon(*counts, **rest)


def _guesses(arrays: Stored, arguments: Arguments) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Canaries, guesses and right guesses, and the arguments that are left."""
    rest = dict(arguments)
    guesses = {name: int(rest.pop(name)) for name in ("guess_in", "guess_out")}
    scores, coins = _one(arrays, "scores"), _one(arrays, "included").astype(np.bool_)
    return (scores.size, sum(guesses.values()), correct_guesses(scores, coins, **guesses)), rest


def _corrected_rate(arrays: Stored, arguments: Arguments) -> Measured:
    hits, rest = _one(arrays, "hits").astype(np.bool_), dict(arguments)
    detector = Detector(**{name: int(rest.pop(name)) for name in ("detected", "copies", "false_alarms", "others")})
    return corrected_rate(int(hits.sum()), len(hits), detector, **rest)


def _dcr_share(arrays: Stored, arguments: Arguments) -> Measured:
    roles = ("training_distances", "holdout_distances", "nearest_training", "nearest_holdout")
    return dcr_share(*(_one(arrays, role) for role in roles), **arguments)


def _dcr_share_of_counts(arrays: Stored, arguments: Arguments) -> Measured:
    return dcr_share_of_counts(_one(arrays, "training_counts"), _one(arrays, "holdout_counts"), **arguments)


def _excess_tpr(arrays: Stored, arguments: Arguments) -> Measured:
    return excess_tpr(_one(arrays, "members"), _one(arrays, "nonmembers"), **arguments)


def _sequential_mean(arrays: Stored, arguments: Arguments) -> Measured:
    return sequential_mean(_one(arrays, "values"), **arguments)


def _copy_rate(arrays: Stored, arguments: Arguments) -> Measured:
    """From distances: threshold on the null images, copies, copies of compared members, false matches."""
    calibration = {name: arguments[name] for name in ("max_false_match_rate", "ceiling")}
    # The rule stays as it was, whatever confidence is asked for; records before it was kept apart have one for both.
    fixed = arguments.get("rule_confidence", arguments["confidence"])
    threshold = false_match_threshold(_one(arrays, "null"), **calibration, confidence=fixed).threshold
    delta = float(arguments["delta"])
    copies = is_copy(_one(arrays, "l2"), _one(arrays, "adaptive"), delta=delta, threshold=threshold)
    false = is_copy(_one(arrays, "control_l2"), _one(arrays, "control_adaptive"), delta=delta, threshold=threshold)
    compared = copies & np.isin(_one(arrays, "nearest"), _one(arrays, "compared"))
    if arguments.get("planned", 0):
        planned, confidence = int(arguments["planned"]), arguments["confidence"]
        return running_copy_rate(copies, compared, false, planned=planned, confidence=confidence)
    return copy_rate(copies, compared, false, confidence=arguments["confidence"])


def _alike_rate(arrays: Stored, arguments: Arguments) -> Measured:
    return alike_rate(*(_one(arrays, role) for role in ("similarities", "null", "control")), **arguments)


def _prompt_rate(arrays: Stored, arguments: Arguments) -> Measured:
    """From the distances of each prompt's clique to training and to unseen images; (prompts, guidance scales)."""
    flagged, undecided = (_one(arrays, role).astype(np.bool_) for role in ("flagged", "undecided"))
    delta, confidence = float(arguments["delta"]), arguments["confidence"]
    if not arguments["compared"]:
        return prompt_rate(flagged, undecided, confidence=confidence)
    hits = flagged & (_one(arrays, "l2") <= delta)
    false = flagged & (_one(arrays, "control_l2") <= delta)
    return prompt_rate(hits, undecided, false, confidence=confidence)


def _dataset_inference(arrays: Stored, arguments: Arguments) -> Measured:
    return dataset_inference(_split_logits(arrays), **arguments)


def _split_logits(arrays: Stored) -> list[SplitLogits]:
    """From logits (splits, test images a side)."""
    rows = zip(_one(arrays, "members"), _one(arrays, "nonmembers"), strict=True)
    return [SplitLogits(first, second) for first, second in rows]


def _mean_difference(arrays: Stored, arguments: Arguments) -> Measured:
    return mean_difference(_one(arrays, "first"), _one(arrays, "second"), **arguments)


def _share_left(arrays: Stored, arguments: Arguments) -> Measured:
    return share_left(_one(arrays, "before"), _one(arrays, "after"), **arguments)


def _relative_loss(arrays: Stored, arguments: Arguments) -> Measured:
    return relative_loss(_one(arrays, "before"), _one(arrays, "after"), **arguments)


def _value(name: str) -> Callable[[Stored, Arguments], Measured]:
    return lambda arrays, arguments: VALUES[name](**arguments).measure(arrays)


STATISTICS: Final[Mapping[str, Callable[[Stored, Arguments], Measured]]] = {
    "alike_rate": _alike_rate,
    "auroc": _value("auroc"),
    "copy_rate": _copy_rate,
    "corrected_rate": _corrected_rate,
    "dataset_inference": _dataset_inference,
    "dcr_share": _dcr_share,
    "dcr_share_of_counts": _dcr_share_of_counts,
    "excess_tpr": _excess_tpr,
    "family_tpr": _value("family_tpr"),
    "mean_difference": _mean_difference,
    "prompt_rate": _prompt_rate,
    "one_run": _one_run,
    "one_run_gaussian": _one_run_gaussian,
    "rate": _value("rate"),
    "sequential_mean": _sequential_mean,
    "relative_loss": _relative_loss,
    "share_left": _share_left,
}
