"""What if the rule that calls generations copies misses some and invents others? The rate, corrected for both."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Findings, estimate
from pytest_diffprivacy.evidence.records import Recipe
from pytest_diffprivacy.statistics import CorrectedRate, Detector, corrected_rate, rate
from pytest_diffprivacy.statistics.detector import CorrectedRateStatistic
from pytest_diffprivacy.statistics.statistic import recorded_arguments


def corrected_copies(
    findings: Findings, found: NDArray[np.bool_], detector: Detector, *, confidence: float, seed: int
) -> CorrectedRate:
    """The copy rate corrected for the rule's measured sensitivity and specificity; the plain rate stands beside it.

    Args:
        findings: gets the recipe, the plain rate, and notes.
        found: (generations,), which are copies by the rule; kept as the array "copy".
        detector: what the rule did on labelled pairs.
        confidence: of each bound.
        seed: of the draws.

    Raises:
        InsufficientProbes: fewer than 30 generations.
        AuditError: fewer copies than false alarms alone explain.

    Source: Implements METHODS 6.1, detector-corrected rate.
    """
    copies, count = int(found.sum()), len(found)
    measured = corrected_rate(copies, count, detector, confidence=confidence, seed=seed)
    judged = corrected_by(detector, confidence, seed)
    findings.recipe = Recipe(statistic=judged.name, arrays={"hits": ("copy",)}, arguments=recorded_arguments(judged))
    plain = rate(copies, count, confidence=confidence)
    findings.also_measured.append(estimate("Copies that the rule reports, uncorrected", plain, f"{count} generations"))
    findings.notes.append(
        f"The rate is corrected for a sensitivity of {detector.sensitivity:.3g} ({detector.detected} of "
        f"{detector.copies} known copies) and a specificity of {detector.specificity:.3g} ({detector.false_alarms} of "
        f"{detector.others} others called copies); its bounds include the error of both."
    )
    return measured


def corrected_by(detector: Detector, confidence: float, seed: int) -> CorrectedRateStatistic:
    """The corrected rate as a statistic."""
    return CorrectedRateStatistic(**dataclasses.asdict(detector), confidence=confidence, seed=seed)
