"""Scores that a caller gives as two arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from pytest_diffprivacy.audit import Findings, Subject
from pytest_diffprivacy.sources.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.sources.method_records import external_method
from pytest_diffprivacy.sources.source import Places, Scores, Vector, as_scores
from pytest_diffprivacy.sources.split import no_split_control
from pytest_diffprivacy.statistics.arguments import IntArray

NAME = "scores"


@final
class ArrayScores:
    """Scores of members and of non-members, higher = more likely a member.

    Args:
        members: (members,).
        nonmembers: (non-members,).
        names: what a reader calls both sides.
        reference: what non-members are to the claim, behind their number.

    Raises:
        UsageError: what is no vector of numbers.
    """

    evaluations, unit, split, model = 0, "an image", None, None
    slug, title, label = NAME, "", "scores made elsewhere"
    remedy = "Give scores that are higher for members"

    def __init__(
        self, members: Any, nonmembers: Any, names: tuple[str, str] = ("members", "non-members"), reference: str = ""
    ) -> None:
        self._pair = as_scores(names[0].removesuffix("s"), members), as_scores(names[1].removesuffix("s"), nonmembers)
        self._names, self._reference = names, reference
        self.counts = len(self._pair[0]), len(self._pair[1])

    @property
    def subject(self) -> Subject:
        """Nobody is known besides the scores."""
        first, second = self.counts
        return Subject(counts=f"{first} {self._names[0]}, {second} {self._names[1]}{self._reference}")

    @property
    def orders(self) -> tuple[IntArray, IntArray]:
        """As they were given."""
        return np.arange(self.counts[0]), np.arange(self.counts[1])

    @property
    def titles(self) -> Mapping[str, str]:
        """What a reader calls the scores."""
        return {NAME: "Scores made elsewhere"}

    def describe(self, findings: Findings) -> None:
        """Record that nothing is known of attack and images."""
        findings.methods = [external_method(NAME, self.titles[NAME], "the caller's own scores", {})]
        no_split_control(findings)
        no_positive_control(self.titles[NAME], ELSEWHERE, findings)

    def scores(self, findings: Findings) -> Scores:
        """The given scores."""
        return {NAME: self._pair}

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """Nothing: no model is asked."""

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """The given scores of one side, all or some."""
        return self._pair[side] if places is None else self._pair[side][np.asarray(places)]

    def examples(self, findings: Findings, threshold: float | None) -> None:
        """Nothing can be generated."""
