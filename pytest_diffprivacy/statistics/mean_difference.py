"""By how much is one group's mean above another's, with bounds on both sides?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import AuditError, InsufficientProbes
from pytest_diffprivacy.statistics.arguments import check_scores, check_significance
from pytest_diffprivacy.statistics.mean_shift import LEAST, WelchShift


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """Mean of the first group minus mean of the second, with one-sided bounds at `confidence`.

    Attributes:
        value: the difference.
        low: its lower bound.
        high: its upper bound.
        confidence: of each bound.
        first_mean: of `first` images.
        second_mean: of `second` images.
        first: size of the first group.
        second: size of the second group.
    """

    value: float
    low: float
    high: float
    confidence: float
    first_mean: float
    second_mean: float
    first: int
    second: int


def mean_difference(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> MeanDifference:
    """Compare the means of two groups of unequal variance.

    Args:
        first: (n,) one number an image.
        second: (m,) one number an image.
        confidence: of each bound, in (0.5, 1).

    Raises:
        UsageError: not finite numbers, or a bad confidence.
        InsufficientProbes: fewer than 10 images a side.
        AuditError: no number differs from the others of its group: there is nothing to estimate an error from.

    Source: Implements Welch (1947); METHODS 7.6.
    """
    significance = check_significance(confidence)
    a, b = check_scores("first", first), check_scores("second", second)
    if min(a.size, b.size) < LEAST:
        raise InsufficientProbes(
            f"Cannot compare means of {a.size} and {b.size} images: at least {LEAST} a side are needed. Add images.",
            needed=LEAST,
        )
    if float(np.ptp(a)) == 0.0 and float(np.ptp(b)) == 0.0:
        raise AuditError(f"All {a.size} numbers equal {a[0]:g} and all {b.size} others {b[0]:g}: nothing varies.")
    shift = WelchShift.of(a, b)
    return MeanDifference(
        value=shift.difference,
        low=shift.lower(significance),
        high=shift.upper(significance),
        confidence=float(confidence),
        first_mean=float(a.mean()),
        second_mean=float(b.mean()),
        first=a.size,
        second=b.size,
    )
