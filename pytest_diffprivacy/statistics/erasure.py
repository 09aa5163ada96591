"""Erasure: whether images that had to be forgotten are as unknown as images never seen, in every way that was tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_diffprivacy.statistics.auroc import auroc, plan_auroc
from pytest_diffprivacy.statistics.rate import excess_rate
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded

PARTS: Final = {
    "recognised": "distance of the AUROC of forgotten against never-seen images from 0.5",
    "relearned": "AUROC of what relearning the other half brings back, above 0.5",
    "copies": "share of forgotten images that generations copy",
}
PAIRS: Final = {
    "recognised": ("forget", "never_seen"),
    "relearned": ("forget_gain", "never_seen_gain"),
    "copies": ("forget_distance", "never_seen_distance"),
}


@dataclass(frozen=True, slots=True)
class ErasedPart(Bounded):
    """One way in which an image may still be known, with its bounds and what is allowed."""

    allowed: float


@dataclass(frozen=True, slots=True)
class Erasure(Bounded):
    """By how much the worst part exceeds what is allowed for it; above 0: not erased.

    Attributes:
        value: largest excess.
        low: largest excess of a lower bound, corrected for the number of parts.
        high: largest excess of an upper bound.
        parts: by name.
        worst: the part of `value`.
    """

    parts: dict[str, ErasedPart]
    worst: str


@statistic("erasure")
@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureStatistic(Statistic):
    """The worst of up to three parts, each of the arrays named in `PAIRS`; what has no arrays was not tried.

    Attributes:
        margin: how far an AUROC may lie from 0.5.
        delta: RMS distance up to which a generation is a copy.
        max_copies: allowed share of copied images.
    """

    margin: float
    delta: float = 0.15
    max_copies: float = 0.05
    confidence: float = 0.95

    def measure(self, arrays: Stored) -> Erasure:
        """Equivalence in both directions for recognition (two one-sided tests), one direction for the others.

        Source: METHODS 3.20; the two tests are those of Schuirmann 1987.
        """
        given = {name: pair for name, pair in PAIRS.items() if pair[0] in arrays}
        own = 1.0 - (1.0 - self.confidence) / len(given)
        parts = {name: self._part(name, [only(arrays, role) for role in pair], own) for name, pair in given.items()}
        excess = {name: part.value - part.allowed for name, part in parts.items()}
        return Erasure(
            value=max(excess.values()),
            low=max(part.low - part.allowed for part in parts.values()),
            high=max(part.high - part.allowed for part in parts.values()),
            confidence=self.confidence,
            parts=parts,
            worst=max(excess, key=excess.__getitem__),
        )

    def _part(self, name: str, pair: list[np.ndarray], corrected: float) -> ErasedPart:
        if name == "copies":
            counts = [(int((side <= self.delta).sum()), len(side)) for side in pair]
            plain = excess_rate(*counts[0], *counts[1], confidence=self.confidence)
            low = excess_rate(*counts[0], *counts[1], confidence=corrected).low
            return ErasedPart(counts[0][0] / counts[0][1], low, plain.high, self.confidence, self.max_copies)
        both = name == "recognised"
        wide = auroc(*pair, confidence=1.0 - (1.0 - corrected) / 2.0 if both else corrected)
        found = auroc(*pair, confidence=self.confidence)
        away, low, high = found.value - 0.5, wide.low - 0.5, found.high - 0.5
        if both:
            away, low, high = abs(away), max(low, 0.5 - wide.high, 0.0), max(high, 0.5 - found.low)
        return ErasedPart(away, low, high, self.confidence, self.margin)

    def needed(self, arrays: Stored, measured: Erasure, limit: float) -> str:
        """Images a side that would show the AUROC within the margin."""
        sides = [only(arrays, role) for role in PAIRS["recognised"]]
        needed = plan_auroc(*map(len, sides), limit=0.5 + self.margin, confidence=self.confidence).pass_needs
        return (
            f"{measured.worst} does not decide; {needed or 'no number of'} images a side show that an AUROC of 0.5 "
            f"lies within {self.margin:g} of 0.5"
        )

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (forget, never seen)."""
        forget, others = counts
        facts = {"probes": f"{forget} images to be forgotten, {others} never seen"}
        if min(counts) < 2:
            return facts | dict.fromkeys(("to pass", "to fail"), "at least 2 images a side are needed")
        planned = plan_auroc(forget, others, limit=0.5 + self.margin, confidence=self.confidence)
        return facts | planned.facts("AUROC", "of each", "")
