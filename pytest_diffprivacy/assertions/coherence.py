"""May these scores be judged, and may a low result of theirs count? Asked of both sides before a verdict."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics import TprAtFpr, check_coherence, tpr_at_fpr

SIGN: Final = "The sign was fixed before labels were seen and is not turned now"


def check_order(
    findings: Findings,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    title: str,
    whom: str = "members",
    cure: str = "Judge by another attack",
    controlled: bool = False,
) -> None:
    """Refuse scores that nothing follows from, and let no claim PASS by scores whose reverse tells the sides apart.

    Args:
        findings: the claim's.
        first: scores of those whom the claim protects, shape (n1,); **a higher score means more likely a member**.
        second: scores of the others, shape (n0,).
        title: of what scored.
        whom: what a reader calls the first.
        cure: what to do about it.
        controlled: whether a positive control showed that the sign is right. Then low scores of the first are no flaw
            of the instrument and may pass; the record says that the others score higher.

    Raises:
        AuditError: a score is NaN or infinite, all are equal, or AUROC and ROC contradict each other.

    Source: Implements METHODS 7.12; the rule for reversed scores is that of statistics.check_coherence.
    """
    if not check_coherence(first, second, title=title).ranked_last:
        return
    if controlled:
        findings.notes.append(
            f"{title} ranks {whom} below the others beyond chance. It finds what is planted, so its sign is right, but "
            "the others may be of another kind, which makes a threshold that they set easy to stay below."
        )
    else:
        text = f"{title} ranks {whom} last beyond chance: its reverse recognises them. {SIGN}"
        findings.notes.append(f"{text}; a low result shows nothing.")
        findings.cannot_pass = f"{text}, so a low result proves nothing. {cure}."


def share_beside(
    first: NDArray[np.float64], second: NDArray[np.float64], *, max_fpr: float, confidence: float, others: str
) -> TprAtFpr:
    """The share of the first above a quantile of the second, as a claim with a `reference_quantile` judges it.

    Args:
        first: scores of those whom the claim protects.
        second: scores of the reference.
        max_fpr: 1 minus the quantile.
        confidence: of each bound.
        others: what a reader calls the second.

    Raises:
        InsufficientProbes: too few of the second for the quantile; the message says how many are needed.
    """
    try:
        return tpr_at_fpr(first, second, max_fpr=max_fpr, confidence=confidence)
    except InsufficientProbes as error:
        raise InsufficientProbes(
            f"Cannot bound the share above the {1.0 - max_fpr:g} quantile of {len(second)} {others}: at least "
            f"{error.needed} are needed. Lower `reference_quantile` or add {others}.",
            needed=error.needed,
        ) from error
