"""Verdict: what may be concluded from a measurement and a limit.

This is the only place in the project where a measurement meets its limit. A PASS needs the upper confidence
bound, a FAIL the lower one; a point estimate decides nothing, so a small sample ends as INCONCLUSIVE and
never as PASS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.statistics.arguments import as_number

RULE = "PASS if the upper bound is at most the limit, FAIL if the lower bound is above it, else INCONCLUSIVE"


class Verdict(StrEnum):
    """What may be concluded about a claim."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"

    @property
    def sentence(self) -> str:
        """The conclusion as one sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    Verdict.PASS: "The upper confidence bound is at most the limit: the claim holds.",
    Verdict.FAIL: "The lower confidence bound is above the limit: the claim is refuted.",
    Verdict.INCONCLUSIVE: "Neither confidence bound decides: the claim is neither shown nor refuted.",
    Verdict.ERROR: "The audit could not judge: nothing follows about the claim.",
}


class Measured(Protocol):
    """A measurement with its bounds, larger = more leakage; every result of this room is one."""

    @property
    def value(self) -> float:
        """The point estimate."""

    @property
    def low(self) -> float:
        """The lower confidence bound."""

    @property
    def high(self) -> float:
        """The upper confidence bound."""

    @property
    def confidence(self) -> float:
        """The confidence of the bounds."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """A measurement with its bounds; what other results of this room carry besides is theirs to say.

    Attributes:
        value: the point estimate.
        low: lower confidence bound.
        high: upper confidence bound.
        confidence: of each bound.
    """

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with everything it was drawn from.

    Attributes:
        rule: the rule in words, as it is stored with the evidence.
        reason: why this verdict and no other, with the numbers.
    """

    verdict: Verdict
    limit: float
    value: float
    low: float
    high: float
    confidence: float
    rule: str
    reason: str


def decide(measured: Measured, limit: float) -> Decision:
    """Compare a measurement with the limit that the policy allows.

    Args:
        measured: value, low, high and confidence; bounds may be infinite, but not NaN.
        limit: the largest value that is allowed, finite.

    Returns:
        PASS iff `high <= limit`, FAIL iff `low > limit`, else INCONCLUSIVE; with rule and reason. Never
        ERROR.

    Raises:
        UsageError: `limit` is not a finite number.
        AuditError: the measurement is NaN, or its bounds are crossed.

    Source: METHODS 7, verdict rule.
    """
    allowed = as_number("limit", limit)
    if not math.isfinite(allowed):
        raise UsageError(f"`limit` must be a finite number, got {limit!r}. Give the largest value that is allowed.")
    value, low, high = float(measured.value), float(measured.low), float(measured.high)
    confidence = float(measured.confidence)
    if any(math.isnan(number) for number in (value, low, high, confidence)):
        raise AuditError(f"Cannot judge value {value}, bounds [{low}, {high}], confidence {confidence}: NaN.")
    if low > high:
        raise AuditError(f"Cannot judge value {value}: its lower bound {low} is above its upper bound {high}.")
    verdict, reason = _conclude(low, high, allowed)
    return Decision(verdict, allowed, value, low, high, confidence, RULE, reason)


def _conclude(low: float, high: float, limit: float) -> tuple[Verdict, str]:
    if high <= limit:
        return Verdict.PASS, f"upper bound {_shown(high, limit)} is at most the limit {_shown(limit, high)}"
    if low > limit:
        return Verdict.FAIL, f"lower bound {_shown(low, limit)} is above the limit {_shown(limit, low)}"
    return Verdict.INCONCLUSIVE, (
        f"limit {_shown(limit, low, high)} lies between lower bound {_shown(low, limit)} "
        f"and upper bound {_shown(high, limit)}"
    )


def _shown(number: float, *others: float) -> str:
    """Write a number with as few digits (at least 3) as tell it from the others."""
    for digits in range(3, 17):
        text = f"{number:.{digits}g}"
        if all(number == other or text != f"{other:.{digits}g}" for other in others):
            return text
    return repr(number)
