"""Plan of a DCR share: generations that have a nearest record in common count as fewer.

How many records share how many generations is unknown before they are generated. If all 2N records are nearest equally
often, n generations count as `n / (1 + (n-1)/(2N))` independent ones, and never as more than 2N; hubs make them fewer
by a factor that grows with the dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import scipy
from scipy import special

from pytest_diffprivacy.statistics.arguments import check_count, check_fraction, check_significance
from pytest_diffprivacy.statistics.sample_size import MOST, POWER, both_sides, search_size, smallest_shown

EVENLY: Final = 1.0
HUBS: Final = 3.2
"""Sum of squared shares of 2N Gaussian records in 32 dimensions, times 2N: 3.0 to 3.2 for 200 to 1,000 a side."""


@dataclass(frozen=True, slots=True)
class SharePlan:
    """What generations can show that share their nearest records so much.

    Attributes:
        counted: as how many independent generations they count.
        pass_chance: chance that a model without a leak, of share 1/2, passes.
        pass_needs: generations with which it passes with probability 0.8; None: no number, with so few records.
        smallest: the smallest share that fails with probability 0.8; None: not even 1 does.
    """

    counted: float
    pass_chance: float
    pass_needs: int | None
    smallest: float | None


def effective(generations: int, records: int, hubs: float) -> float:
    """As how many independent generations these count; `hubs`: sum of squared shares of the records, times 2N."""
    return generations / (1.0 + (generations - 1) * min(1.0, hubs / (2.0 * records)))


def plan_share(generations: int, records: int, limit: float, *, confidence: float = 0.95, hubs: float) -> SharePlan:
    """Plan a DCR share by normal approximation of the share, with the very bounds.

    Args:
        generations: how many, at least 1.
        records: of each side.
        limit: the largest share allowed.
        confidence: of each bound.
        hubs: as of `effective`.

    Source: Implements METHODS 7.13 for the bounds of 6.2.
    """
    count, size = check_count("generations", generations, least=1), check_count("records", records, least=1)
    allowed, a = check_fraction("limit", limit), check_significance(confidence)

    def passes(n: int) -> float:
        trials = effective(n, size, hubs)
        most = _turning(lambda k: float(special.betaincinv(k + 1.0, trials - k, 1.0 - a)) - allowed, trials)
        return 0.0 if most is None else float(special.ndtr((most / trials - 0.5) * 2.0 * math.sqrt(spread(n))))

    def spread(n: int) -> float:  # the split's luck is that of how records differ: none where all are nearest equally
        return 1.0 / (1.0 / n + max(0.0, min(1.0, hubs / (2.0 * size)) - 0.5 / size))

    counted = effective(count, size, hubs)
    least = _turning(lambda k: float(special.betaincinv(k, counted - k + 1.0, a)) - allowed, counted)
    best = passes(MOST) >= POWER

    def shows(share: float) -> float:
        beyond = share - (least or 0.0) / counted
        return float(special.ndtr(beyond / math.sqrt(share * (1.0 - share) / spread(count))))

    return SharePlan(
        counted=counted,
        pass_chance=passes(count),
        pass_needs=search_size(passes, POWER) if best else None,
        smallest=None if least is None else smallest_shown(shows, max(allowed, 0.5), POWER),
    )


def share_facts(counts: tuple[int, ...], limit: float, confidence: float) -> dict[str, str]:
    """What (generations, members, non-members) can show, between even records and hubs."""
    generations, members, nonmembers = counts
    size = max(1, min(members, nonmembers))
    even, hubs = (
        plan_share(max(1, generations), size, limit, confidence=confidence, hubs=hubs) for hubs in (EVENLY, HUBS)
    )
    needs = " to ".join(dict.fromkeys(str(one.pass_needs or "no number") for one in (even, hubs)))
    shown = " to ".join(dict.fromkeys("none" if p.smallest is None else f"{p.smallest:.3g}" for p in (even, hubs)))
    return {
        "probes": f"{generations} generations, {both_sides(members, nonmembers)}",
        "to pass": f"a model without a leak passes with probability {even.pass_chance:.2f} to {hubs.pass_chance:.2f}; "
        f"{needs} of generations pass with probability {POWER:g}",
        "to fail": f"the smallest share that these generations show with probability {POWER:g} is {shown}",
        "given": f"generations that share a nearest record count as fewer: these as {even.counted:.0f} if all records "
        f"are nearest equally often, to {hubs.counted:.0f} with hubs as in 32 dimensions; more members and non-members "
        "make them more",
    }


def _turning(excess: Callable[[float], float], trials: float) -> float | None:
    """The count at which a bound meets the limit; None where none of 0 to all does."""
    low, high = 1e-9, trials - 1e-9
    if high <= low or excess(low) > 0.0 or excess(high) <= 0.0:
        return None
    return float(scipy.optimize.brentq(excess, low, high, xtol=1e-9))
