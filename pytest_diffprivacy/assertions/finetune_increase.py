"""From the scores of a base and of its fine-tune to the judged increase, whoever made the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.controls import control_finetune, negative_controls
from pytest_diffprivacy.assertions.finetune_evidence import recognised_table, show_increase
from pytest_diffprivacy.assertions.split import JudgedSplit
from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.evidence.records import Recipe
from pytest_diffprivacy.statistics import (
    ExcessTpr,
    check_coherence,
    excess_tpr,
    nonmembers_needed,
    probes_needed_for_tpr,
    tpr_pass_needs,
)

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of members and of non-members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Increase:
    """How the increase of a score is judged.

    Attributes:
        name: of the attack.
        title: of the attack, for its controls.
        judged: what a message calls the increase.
        equal: the error where both models give every probe the same score.
        max_fpr: allowed share of non-members taken for members.
        limit: allowed excess over it.
        confidence: of each bound.
        seed: of the control's halves.
    """

    name: str
    title: str
    judged: str
    equal: str
    max_fpr: float
    limit: float
    confidence: float
    seed: int

    def measured(
        self,
        findings: Findings,
        before: Scores,
        scores: Scores,
        gate: JudgedSplit,
        control: tuple[str, Callable[[], Scores]] | None,
    ) -> ExcessTpr:
        """The excess of the increase; controls, pictures and the recipe go into the findings.

        Args:
            findings: the claim's.
            before: scores by the base.
            scores: by the fine-tuned model.
            gate: the split.
            control: a fine-tune on other images: its name, and its scores when asked for.

        Raises:
            AuditError: no score differs between the models, or a control failed.
            InsufficientProbes: too few non-members for this FPR.
        """
        gains = _minus(scores, before)
        findings.arrays |= {"member_increase": gains[0], "nonmember_increase": gains[1]}
        findings.recipe = Recipe(
            statistic="excess_tpr",
            arrays={"members": ("member_increase",), "nonmembers": ("nonmember_increase",)},
            arguments={"max_fpr": self.max_fpr, "confidence": self.confidence},
        )
        if not any(side.any() for side in gains):
            raise AuditError(self.equal)
        if control is not None:
            who, asked = control
            control_finetune(self.title, who, *_minus(asked(), before), findings)
        negative_controls({self.name: gains}, {self.name: self.title}, self.seed, findings)
        self._check_order(findings, gains)
        show_increase(
            findings, scores, before, gains, max_fpr=self.max_fpr, limit=self.limit, confidence=self.confidence
        )
        gate.compare(findings, " of the increase", *gains)
        findings.tables.append(recognised_table(gate.probes.members, *gains))
        findings.needed = lambda: self._needed(gains)
        return excess_tpr(*gains, max_fpr=self.max_fpr, confidence=self.confidence)

    def _check_order(self, findings: Findings, gains: Scores) -> None:
        if check_coherence(*gains, title=self.judged).ranked_last:
            text = "The fine-tune makes its own training images less likely than others beyond chance"
            findings.notes.append(f"{text}: a low TPR shows nothing here.")
            findings.cannot_pass = f"{text}, so a low TPR proves nothing. Are members and non-members swapped?"

    def _needed(self, gains: Scores) -> str:
        max_fpr, confidence, rate = self.max_fpr, self.confidence, self.limit + self.max_fpr
        least = nonmembers_needed(max_fpr, confidence)
        if len(gains[1]) < least:
            return f"at least {least} non-members, below which no lower bound exists at this FPR"
        decided = probes_needed_for_tpr(*gains, rate, max_fpr=max_fpr, confidence=confidence)
        if decided is None:
            enough = tpr_pass_needs(rate, max_fpr, confidence) or "no number"
            return (
                "no number of probes decides at the observed rate; a fine-tune without a leak passes with "
                f"{enough} a side"
            )
        return f"about {decided} members and as many non-members would decide at the observed rate"


def _minus(scores: Scores, others: Scores) -> Scores:
    return scores[0] - others[0], scores[1] - others[1]
