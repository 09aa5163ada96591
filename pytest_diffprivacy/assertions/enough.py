"""How many trials, and how many unseen images, would decide a rate of copies, where these do not?"""

from __future__ import annotations

from pytest_diffprivacy.statistics import CorrectedRate, corrected_rate
from pytest_diffprivacy.statistics.ranks import values_needed
from pytest_diffprivacy.statistics.rate import more_trials
from pytest_diffprivacy.statistics.sample_size import MOST

__all__ = ["more_corrected_trials", "more_trials", "uncalibrated"]

GROWTH = 1.25


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
