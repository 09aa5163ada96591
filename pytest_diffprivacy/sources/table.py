"""Scores of images from a table that was made elsewhere, joined by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.probes import ProbeSet, PromptSet, ScoreTable
from pytest_diffprivacy.sources.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.sources.method_records import table_method
from pytest_diffprivacy.sources.source import Pair, Places, Scores, Vector
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split
from pytest_diffprivacy.statistics.arguments import IntArray


@final
class TableScores:
    """Columns of a score table, each the scores of one method.

    Args:
        auditor: checks the split.
        table: its ids are those of the images.
        probes: whom the ids must match, one and all.
        columns: which of them are judged.
        reference: what non-members are to the claim, behind their number.
    """

    evaluations, unit, slug = 0, "an image", "table"
    remedy = "Give a table in which a higher score means more likely a member"

    def __init__(
        self, auditor: Auditor, table: ScoreTable, probes: ProbeSet, columns: Sequence[str], reference: str = ""
    ) -> None:
        self.model, self.columns, self.title = table, tuple(columns), ", ".join(columns)
        self.label = f"{self.title}, scores made elsewhere"
        self._auditor, self._probes, self._reference = auditor, probes, reference
        self.counts = probes.members.source_count, probes.nonmembers.source_count

    @cached_property
    def split(self) -> JudgedSplit:
        """The split of the probes."""
        return judged_split(self._auditor, self._probes)

    @cached_property
    def _joined(self) -> Scores:
        return {column: self.model.join(self._probes, column, kept=self.split.probes) for column in self.columns}

    @property
    def subject(self) -> Subject:
        """The probes; a table that does not match them is refused here."""
        assert self._joined
        return Subject(probes=self.split.probes, counts=self.split.counts + self._reference)

    @property
    def orders(self) -> tuple[IntArray, IntArray]:
        """By the digests of the images."""
        return self.split.orders

    @property
    def titles(self) -> Mapping[str, str]:
        """Each column as a record's method calls it."""
        return {column: table_method(self.model, column).title for column in self.columns}

    def describe(self, findings: Findings) -> None:
        """Record the columns and the split."""
        findings.methods = [table_method(self.model, column) for column in self.columns]
        self.split.note(findings)
        for title in self.titles.values():
            no_positive_control(title, ELSEWHERE, findings)

    def scores(self, findings: Findings) -> Scores:
        """Each column's scores of both sides, in the order of the probes."""
        return self._joined

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """Nothing: no model is asked."""

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """Scores of one side in the only column, of all its images or of some."""
        (pair,) = self._joined.values()
        return pair[side] if places is None else pair[side][np.asarray(places)]


@final
class TablePrompts:
    """A column of a score table whose ids are the prompts' texts, those of the reference included.

    Args:
        table: the table.
        sides: audited prompts and reference prompts.
        column: which scores.
    """

    evaluations, unit, slug, split = 0, "a prompt", "table", None
    remedy = "Give scores that are higher for memorized prompts, and reference prompts of the same kind"

    def __init__(self, table: ScoreTable, sides: tuple[PromptSet, ...], column: str) -> None:
        self.model, self.sides, self.title = table, sides, column
        self.label = f"{column}, scores made elsewhere"
        audited, others = sides
        self.counts = len(audited), len(others)

    @cached_property
    def _pair(self) -> Pair:
        audited, others = self.sides
        scores = self.model.of([*audited.texts, *others.texts], self.title)
        return scores[: len(audited)], scores[len(audited) :]

    @property
    def subject(self) -> Subject:
        """The prompts; a table that does not match them is refused here."""
        assert self._pair
        return Subject(prompts=self.sides, counts="{} prompts, {} reference prompts".format(*self.counts))

    @property
    def titles(self) -> Mapping[str, str]:
        """The column."""
        return {self.title: self.label}

    @property
    def orders(self) -> tuple[IntArray, IntArray]:
        """As the prompts stand."""
        return np.arange(self.counts[0]), np.arange(self.counts[1])

    def describe(self, findings: Findings) -> None:
        """Record the column."""
        findings.methods = [table_method(self.model, self.title)]
        no_positive_control(self.label, ELSEWHERE, findings)

    def scores(self, findings: Findings) -> Scores:
        """The scores of both sides."""
        return {self.title: self._pair}

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """Nothing: no model is asked."""

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """The scores of one side, all or some."""
        return self._pair[side] if places is None else self._pair[side][np.asarray(places)]

    def examples(self, findings: Findings, threshold: float | None) -> None:
        """Nothing can be generated."""
