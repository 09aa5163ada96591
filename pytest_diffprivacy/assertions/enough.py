"""How many trials, and how many unseen images, would decide a rate of copies, where these do not?"""

from __future__ import annotations

from pytest_diffprivacy.statistics import CorrectedRate, Measured, corrected_rate, excess_trials_needed
from pytest_diffprivacy.statistics.planning import MOST
from pytest_diffprivacy.statistics.ranks import values_needed

GROWTH = 1.25


def more_trials(
    measured: Measured, control: float, limit: float, *, trials: str = "generations", cure: str = "Lower delta"
) -> str:
    """How many trials would decide at the observed rate, less that of the control.

    Args:
        measured: the rate.
        control: the control's rate of false matches; 0 where there is none and none is taken off.
        limit: the largest rate allowed.
        trials: what they are called.
        cure: what to do about a control that explains what is above the limit.
    """
    decided = excess_trials_needed(measured.value, control, limit, confidence=measured.confidence)
    if decided is None and control > 0.0 and measured.value > limit >= measured.value - control:
        return (
            f"no number of {trials} decides at the observed rates: {control:.3g} of them match unseen images, which "
            f"explains what is above the limit. {cure} or lower max_false_match_rate"
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


def uncalibrated(count: int, max_false_match_rate: float, confidence: float, *, images: str) -> str:
    """Why so many unseen images, half of which are the control, calibrate no copy rule; empty where they do."""
    needed = 2 * values_needed(max_false_match_rate, round(1.0 - confidence, 12))
    if count >= needed:
        return ""
    return (
        f"undefined, because {count} {images} calibrate no copy rule with a false match rate of "
        f"{max_false_match_rate:g}: at least {needed} {images} are needed"
    )
