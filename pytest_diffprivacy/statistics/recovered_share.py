"""Recovered share: how many of the protected images or persons come back, beside as many as come back by chance."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pytest_diffprivacy.statistics.binomial import upper_bound
from pytest_diffprivacy.statistics.rate import Trials, excess_rate, more_trials, rate, rate_facts
from pytest_diffprivacy.statistics.statistic import WORDS, Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded


@dataclass(frozen=True, slots=True)
class RecoveredShare(Bounded):
    """The share of protected ones that come back.

    Attributes:
        value: of the protected ones.
        low: lower bound of that share minus the upper bound of the control's, each at half the significance.
        high: plain upper bound of that share: a sloppy rule makes PASS harder and never easier.
        recovered: protected ones that came back.
        protected: their number.
        false_matches: of the control.
        controls: their number.
    """

    recovered: int
    protected: int
    false_matches: int
    controls: int


@statistic("recovered_share")
@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredShareStatistic(Statistic):
    """The share of "members" that score at least `copy_from`, beside that of "nonmembers", which cannot come back.

    Where members have more chances to come back than non-members, as persons of more pictures do, "compared" are the
    scores of the same members by no more chances than those: the lower bound counts them, value and upper bound all.

    Attributes:
        copy_from: smallest score of one that came back; higher = more alike.
        what: those that are counted, in the plural.
        remedy: what to do where the control explains the matches.
    """

    copy_from: float
    confidence: float = 0.95
    what: str = "images"
    remedy: str = field(default="Raise copy_from", metadata=WORDS, compare=False)

    def measure(self, arrays: Stored) -> RecoveredShare:
        """Exact bounds of both shares.

        Source: METHODS 1.4 and 7.1.
        """
        members, others = (only(arrays, role) >= self.copy_from for role in ("members", "nonmembers"))
        compared = only(arrays, "compared") >= self.copy_from if "compared" in arrays else members
        hits, false = int(np.count_nonzero(members)), int(np.count_nonzero(others))
        plain = rate(hits, len(members), confidence=self.confidence)
        found = int(np.count_nonzero(compared))
        excess = excess_rate(found, len(compared), false, len(others), confidence=self.confidence)
        return RecoveredShare(
            plain.value, excess.low, plain.high, plain.confidence, hits, len(members), false, len(others)
        )

    def needed(self, arrays: Stored, measured: RecoveredShare, limit: float) -> str:
        """Protected ones that would decide, or what explains the matches."""
        control = measured.false_matches / measured.controls
        spread = upper_bound(measured.false_matches, measured.controls, (1.0 - self.confidence) / 2.0)
        beside = f"; {measured.controls} non-members bound the false matches by {spread:.3g} only"
        return more_trials(measured, control, limit, trials=self.what, remedy=self.remedy) + beside

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (members, non-members)."""
        protected, controls = counts
        words = Trials(
            name=self.what, clean="that do not come back", beside=f"{controls} others as control", controls=controls
        )
        return rate_facts(protected, limit, self.confidence, words)
