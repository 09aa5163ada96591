"""All that a reader sees of the scores of two groups: their order, controls, AUROC, histogram and ROC."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pytest_diffprivacy.audit import Findings, estimate
from pytest_diffprivacy.sources import Pair
from pytest_diffprivacy.sources.score_figures import WorkingPoint, histogram_record, roc_record
from pytest_diffprivacy.statistics import auroc, check_coherence

SIGN: Final = "The sign was fixed before labels were seen and is not turned now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Two groups of scores, and what a reader calls them.

    Attributes:
        whom: those whom the claim protects, in a sentence.
        names: both groups in a histogram.
        counts: their sizes, for estimates; empty: by their names.
        scores: what the scores are, as the title of the histogram.
        axis: of the histogram; may hold {} for what scored.
        curve: title of the ROC.
    """

    whom: str = "members"
    names: tuple[str, str] = ("members", "non-members")
    counts: str = ""
    scores: str = "Scores"
    axis: str = "score (higher = more likely member)"
    curve: str = "ROC"

    def about(self, title: str) -> Groups:
        """The same with what scored on the axis of the histogram."""
        return replace(self, axis=self.axis.format(title))

    @property
    def sides(self) -> tuple[str, str]:
        """Both groups in a plan, where nobody is audited yet."""
        return self.names[0].removeprefix("audited "), self.names[1]

    def sizes(self, pair: Pair) -> str:
        """How many there are of each."""
        return self.counts or f"{len(pair[0])} {self.names[0]}, {len(pair[1])} {self.names[1]}"

    def check_order(self, findings: Findings, pair: Pair, title: str, remedy: str, *, controlled: bool = False) -> None:
        """Refuse scores that nothing follows from; let no claim PASS by scores whose reverse tells the groups apart.

        Args:
            findings: the claim's.
            pair: scores of both groups; **higher = more likely a member**.
            title: of what scored.
            remedy: what to do where it ranks the first group last.
            controlled: whether a positive control showed that the sign is right. Then low scores of the first are no
                flaw of the instrument and may pass; the record says that the others score higher.

        Raises:
            AuditError: a score is NaN or infinite, all are equal, or AUROC and ROC contradict each other.

        Source: Implements METHODS 7.12; the rule for reversed scores is that of statistics.check_coherence.
        """
        if not check_coherence(*pair, title=title).ranked_last:
            return
        if controlled:
            findings.notes.append(
                f"{title} ranks {self.whom} below the others beyond chance. It finds what is planted, so its sign is "
                "right, but the others may be of another kind, which makes a threshold that they set easy to stay "
                "below."
            )
        else:
            text = f"{title} ranks {self.whom} last beyond chance: its reverse recognises them. {SIGN}"
            findings.notes.append(f"{text}; a low result shows nothing.")
            findings.cannot_pass = f"{text}, so a low result proves nothing. {remedy}."

    def add_auroc(self, findings: Findings, pair: Pair, confidence: float, *, of: str = "") -> None:
        """The AUROC beside what is judged.

        Raises:
            InsufficientProbes: a group has fewer than two scores.
        """
        findings.also_measured.append(estimate(f"AUROC{of}", auroc(*pair, confidence=confidence), self.sizes(pair)))

    def add_histogram(self, findings: Findings, pair: Pair, *, of: str = "") -> None:
        """Both groups over common bins."""
        findings.histograms.append(histogram_record(f"{self.scores}{of}", self.axis, *pair, names=self.names))

    def add_roc(self, findings: Findings, pair: Pair, working: WorkingPoint, *, of: str = "") -> None:
        """The ROC with its working point."""
        findings.curves.append(roc_record(f"{self.curve}{of}", pair, working))


PROMPTS: Final = Groups(
    whom="the audited prompts",
    names=("audited prompts", "reference prompts"),
    scores="Prompts",
    axis="{} (higher = memorized)",
    curve="ROC of prompts",
)
