"""Where do a claim's bounds lie against its limit? Positions of the small bar beside every verdict, in percent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.report.text import number, percent

MARGIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A drawn interval; every position is a text such as "12.50%" of the bar's width.

    Attributes:
        zero: where 0 is.
        low: where the lower bound is.
        value: where the estimate is.
        high: where the upper bound is.
        limit: where the limit is; what lies left of it is allowed.
        width: length of the interval.
        label: the same in words, for those who do not see it.
    """

    zero: str
    low: str
    value: str
    high: str
    limit: str
    width: str
    label: str


def bounds_bar(claim: Claim) -> Bar | None:
    """The bar of a claim; None where nothing was estimated."""
    estimate = claim.estimate
    if estimate is None:
        return None
    ends = (0.0, estimate.low, estimate.value, estimate.high, claim.limit)
    start, stop = min(ends), max(ends)
    span = (stop - start) or 1.0

    def position(value: float) -> float:
        return MARGIN + (100.0 - 2.0 * MARGIN) * (value - start) / span

    def shown(value: float) -> str:
        return f"{position(value):.2f}%"

    label = (
        f"Estimate {number(estimate.value)}, one-sided {percent(estimate.confidence)} bounds "
        f"{number(estimate.low, claim.limit)} to {number(estimate.high, claim.limit)}, limit {number(claim.limit)}"
    )
    return Bar(
        zero=shown(0.0),
        low=shown(estimate.low),
        value=shown(estimate.value),
        high=shown(estimate.high),
        limit=shown(claim.limit),
        width=f"{position(estimate.high) - position(estimate.low):.2f}%",
        label=label,
    )
