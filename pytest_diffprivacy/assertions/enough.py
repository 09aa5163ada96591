"""How many trials would decide a rate of copies, where these do not?"""

from __future__ import annotations

from pytest_diffprivacy.statistics import CorrectedRate, Measured, corrected_rate, excess_trials_needed
from pytest_diffprivacy.statistics.planning import MOST

GROWTH = 1.25


def more_trials(measured: Measured, control: float, limit: float, *, trials: str = "generations") -> str:
    """How many trials would decide at the observed rate, less that of the control.

    Args:
        measured: the rate.
        control: the control's rate of false matches; 0 where there is none and none is taken off.
        limit: the largest rate allowed.
        trials: what they are called.
    """
    decided = excess_trials_needed(measured.value, control, limit, confidence=measured.confidence)
    if decided is None and control > 0.0 and measured.value > limit >= measured.value - control:
        return (
            f"no number of {trials} decides at the observed rates: {control:.3g} of them match unseen images, which "
            "explains what is above the limit. Lower delta or max_false_match_rate"
        )
    return f"about {decided or 'more than 10 million'} {trials} would decide at the observed rate"


def more_corrected_trials(measured: CorrectedRate, limit: float, *, seed: int) -> str:
    """How many generations would decide at the observed rate, with the detector's counts as they are."""
    n = float(measured.trials)
    while n < MOST:
        n *= GROWTH
        count = round(n)
        found = corrected_rate(
            round(measured.observed * count), count, measured.detector, confidence=measured.confidence, seed=seed
        )
        if found.high <= limit or found.low > limit:
            return f"about {count} generations would decide at the observed rate"
    return (
        "no number of generations decides at the observed rate, because the detector's own error leaves it open: "
        "label more copies and others"
    )
