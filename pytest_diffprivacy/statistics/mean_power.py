"""How large must a difference of means be to be shown by groups of these sizes? In standard deviations of a group.

Before anything was measured the spread is unknown, so a plan can speak in standard deviations only.
"""

from __future__ import annotations

import math

from scipy import special

from pytest_diffprivacy.statistics.arguments import check_count, check_fraction, check_significance
from pytest_diffprivacy.statistics.sample_size import POWER


def shown_shift(first: int, second: int | None = None, *, confidence: float = 0.95, power: float = POWER) -> float:
    """Return the gap to a limit that a one-sided bound of the mean clears with probability `power`.

    Args:
        first: size of the first group, at least 2.
        second: size of the second group, at least 2; None: one group, whose mean is judged.
        confidence: of the bound, in (0.5, 1).
        power: probability, in (0, 1).

    Returns:
        The gap between the true value and the limit, in standard deviations of a group; the same for PASS and FAIL.

    Raises:
        UsageError: an argument is out of range.

    Source: Power of Student's t-test by the noncentral t distribution, which is Welch's for groups of equal spread.
    """
    n1 = check_count("first", first, least=2)
    n0 = None if second is None else check_count("second", second, least=2)
    goal, significance = check_fraction("power", power), check_significance(confidence)
    freedom = n1 - 1 if n0 is None else n1 + n0 - 2
    error = math.sqrt(1.0 / n1 + (0.0 if n0 is None else 1.0 / n0))
    bar = -float(special.stdtrit(freedom, significance))
    low, high = 0.0, 2.0 * bar + 10.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (low, middle) if 1.0 - float(special.nctdtr(freedom, middle, bar)) >= goal else (middle, high)
    return high * error
