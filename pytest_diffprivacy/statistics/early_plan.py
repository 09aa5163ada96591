"""Early plan: after how many items a rate that may be judged early passes or fails, and when to look.

Plans are no bounds: what was observed, or supposed, is taken for the truth.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
from scipy import special

from pytest_diffprivacy.statistics.arguments import check_significance
from pytest_diffprivacy.statistics.early_rate import AT_ZERO, BETS, clean_log_capital
from pytest_diffprivacy.statistics.rate import Trials
from pytest_diffprivacy.statistics.sample_size import HINT, MOST, POWER, about, smallest_shown
from pytest_diffprivacy.statistics.verdict import Bounded

FIRST_LOOK = 64
GROWTH = 1.5
NEAR, APART = 1.25, 1.2


def passes_after(hits: int, limit: float, *, confidence: float = 0.95, at_zero: float = AT_ZERO) -> int | None:
    """The number of items at which a rate with so many hits passes the limit at the latest; None beyond 10 million.

    Source: Inverts `clean_log_capital`.
    """
    goal = -math.log(check_significance(confidence))
    if limit <= 0.0:
        return None

    def passes(n: int) -> bool:
        return bool(clean_log_capital(hits, n, limit, at_zero) > goal)

    short, n = hits, max(hits + 1, math.ceil(goal / -math.log1p(-limit)))
    while not passes(n):
        if n >= MOST:
            return None
        short, n = n, 2 * n
    while n - short > 1:
        middle = (short + n) // 2
        short, n = (short, middle) if passes(middle) else (middle, n)
    return n


def share_at_zero(limit: float, budget: int, *, confidence: float = 0.95) -> float:
    """What of the capital is bet on the rate 0: a half; all of it where the budget allows a PASS by no hit alone."""
    clean = passes_after(0, limit, confidence=confidence)
    return AT_ZERO if clean is None or clean <= budget else 1.0


def look_sizes(limit: float, budget: int, *, confidence: float = 0.95, at_zero: float = AT_ZERO) -> list[int]:
    """After how many items to look: by half more each time, and where a PASS becomes possible; the budget last.

    They follow from what is known before the first item, so that a run that goes on computes what it would have.
    """
    sizes: list[int] = []
    last, hits = 0, 0
    while last < budget:
        wanted = max(FIRST_LOOK, math.ceil(GROWTH * last))
        passing = passes_after(hits, limit, confidence=confidence, at_zero=at_zero)
        while passing is not None and passing <= APART * last and passing < budget:
            hits += max(1, int(limit * last) // 50)  # one by one would take long where thousands are allowed
            passing = passes_after(hits, limit, confidence=confidence, at_zero=at_zero)
        last = min(budget, passing if passing is not None and passing <= NEAR * wanted else wanted)
        sizes.append(last)
    return sizes


def items_needed(
    value: float,
    false: float,
    limit: float,
    *,
    confidence: float = 0.95,
    at_zero: float = AT_ZERO,
    power: float = HINT,
) -> int | None:
    """How many items decide with probability `power`, if the observed rates are the truth; None beyond 10 million.

    Args:
        value: the rate that is judged; at most the limit: for a PASS, else for a FAIL.
        false: rate of the control's false matches; those exclude hits.
        limit: the largest rate allowed.
        confidence: of each bound.
        at_zero: as `early_rate`.
        power: in (0.5, 1).

    Returns:
        An upper estimate: a look before it may decide as well.

    Source: of a PASS by the number of hits that is not exceeded with that probability; of a FAIL by the normal
    approximation of the best bet's log capital; ours.
    """
    goal, z = -math.log(check_significance(confidence)), float(special.ndtri(power))
    if value <= limit:
        n = passes_after(0, limit, confidence=confidence, at_zero=at_zero)
        while n is not None and value > 0.0:
            hits = int(scipy.stats.binom.ppf(power, n, value))
            enough = passes_after(hits, limit, confidence=confidence, at_zero=at_zero)
            if enough is None or enough <= n:
                return None if enough is None else n
            n = min(enough, math.ceil(1.05 * n))
        return n
    shares = np.array([min(false, 1.0 - value), max(0.0, 1.0 - value - false), value])
    found = np.log1p(BETS[:, None] / (1.0 + limit) * (np.array([-1.0, 0.0, 1.0]) - limit))
    gain = found @ shares
    spread = np.sqrt(np.maximum(found**2 @ shares - gain**2, 0.0))
    able = gain > 0.0
    if not able.any():
        return None
    target = goal + math.log(len(BETS))
    roots = (z * spread[able] + np.sqrt((z * spread[able]) ** 2 + 4.0 * gain[able] * target)) / (2.0 * gain[able])
    n = math.ceil(float(roots.min()) ** 2)
    return n if n <= MOST else None


def expected_items(budget: int, limit: float, *, confidence: float, at_zero: float) -> int | None:
    """Items after which a model without a hit passes; None: all of them, or it cannot."""
    clean = passes_after(0, limit, confidence=confidence, at_zero=at_zero)
    return clean if clean is not None and clean <= budget else None


def early_trials(
    measured: Bounded, made: int, false: float, limit: float, *, at_zero: float, trials: str = "generations"
) -> str:
    """How many items would decide at the observed rates, of `made` that did not."""
    level, at_zero = measured.confidence, AT_ZERO if measured.value > 0.0 else at_zero
    needed = items_needed(measured.value, false, limit, confidence=level, at_zero=at_zero, power=HINT)
    if needed is None and measured.value > limit >= measured.value - false:
        return (
            f"no number of {trials} decides at the observed rates: {false:.3g} of them match unseen images, which "
            "explains what is above the limit. Lower delta or lower max_false_match_rate"
        )
    enough = None if needed is None else max(needed, made + 1)
    return f"{about(enough)} {trials} would decide with probability {HINT:g} at the observed rate"


def early_facts(budget: int, limit: float, confidence: float, words: Trials) -> dict[str, str]:
    """What a budget of items, which are judged as they come, can show about a rate."""
    at_zero = share_at_zero(limit, budget, confidence=confidence)
    clean = passes_after(0, limit, confidence=confidence, at_zero=at_zero)

    def shown(rate: float) -> float:
        needed = items_needed(rate, 0.0, limit, confidence=confidence, power=POWER)
        return 1.0 if needed is not None and needed <= budget else 0.0

    smallest = smallest_shown(shown, limit, 1.0)
    facts = {
        "probes": f"at most {budget} {words.name}" + (f", {words.beside}" if words.beside else ""),
        "to pass": f"{clean or 'no number of'} {words.name} {words.clean} are needed"
        + (", after which generating stops" if clean and clean <= budget else "; the budget allows no PASS"),
        "to fail": f"these {words.name} can show none"
        if smallest is None
        else f"the smallest rate that these {words.name} show with probability {POWER:g}, if the control has no false "
        f"match, is {smallest:.3g}; a higher one stops sooner",
    }
    return facts | (dict.fromkeys(("to pass", "to fail"), words.undefined) if words.undefined else {})
