"""May these scores be judged, and may a low result of theirs count? Asked of both sides before a verdict."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.statistics import check_coherence

SIGN: Final = "The sign was fixed before labels were seen and is not turned now"


def check_order(
    findings: Findings,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    title: str,
    whom: str = "members",
    cure: str = "Judge by another attack",
) -> None:
    """Refuse scores that nothing follows from, and let no claim PASS by scores whose reverse tells the sides apart.

    Args:
        findings: the claim's.
        first: scores of those whom the claim protects, shape (n1,); **a higher score means more likely a member**.
        second: scores of the others, shape (n0,).
        title: of what scored.
        whom: what a reader calls the first.
        cure: what to do about it.

    Raises:
        AuditError: a score is NaN or infinite, all are equal, or AUROC and ROC contradict each other.

    Source: Implements METHODS 7.12; the rule for reversed scores is that of statistics.check_coherence.
    """
    if check_coherence(first, second, title=title).ranked_last:
        text = f"{title} ranks {whom} last beyond chance: its reverse recognises them. {SIGN}"
        findings.notes.append(f"{text}; a low result shows nothing.")
        findings.cannot_pass = f"{text}, so a low result proves nothing. {cure}."
