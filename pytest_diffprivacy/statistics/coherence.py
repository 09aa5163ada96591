"""Can these scores be what they are said to be? Every claim that is judged from two groups of scores asks this first.

A broken attack is silent in the same way as a safe model, so what cannot be true stops the audit: NaN, a constant, an
area under the curve that its own points rule out. What may be true and must be known is returned: ties, and an attack
that ranks members last. Such an attack may not be flipped after the labels were seen, and may not pass either: its
reverse recognises members.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import AuditError, InsufficientProbes
from pytest_diffprivacy.statistics.arguments import FloatArray, check_fraction
from pytest_diffprivacy.statistics.auroc import auroc
from pytest_diffprivacy.statistics.roc import RocCurve, roc_curve

REVERSED = 0.001
"""Significance at which members count as ranked last."""
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Coherence:
    """What a reader must know about two groups of scores that may be judged.

    Attributes:
        tied: share of the images whose score another image has as well; ties make bounds wider, never narrower.
        resolution: 1 / n0, the smallest false positive rate that the non-members can show.
        area: AUROC.
        ranked_last: whether members score lower than non-members beyond chance (two-sided significance 0.001).
    """

    tied: float
    resolution: float
    area: float
    ranked_last: bool


def check_coherence(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, title: str = "The attack", max_fpr: float | None = None
) -> Coherence:
    """Refuse scores that nothing may be concluded from; **a higher score means more likely a member**.

    Args:
        member_scores: shape (n1,).
        nonmember_scores: shape (n0,).
        title: what messages call the attack.
        max_fpr: the false positive rate that is asked about, if one is.

    Raises:
        AuditError: a score is NaN or infinite, all are equal, or the AUROC and the ROC contradict each other.
        InsufficientProbes: `max_fpr` is below the resolution of the non-members.

    Source: Implements METHODS 7.12; the rule for reversed attacks is ours.
    """
    sides = _finite("member", member_scores), _finite("non-member", nonmember_scores)
    member, nonmember = sides
    values, counts = np.unique(np.concatenate(sides), return_counts=True)
    if values.size == 1:
        raise AuditError(
            f"{title}: all {member.size + nonmember.size} scores equal {member[0]:g}: the attack does not look at the "
            "images."
        )
    if max_fpr is not None and check_fraction("max_fpr", max_fpr) < 1.0 / nonmember.size:
        needed = int(np.ceil(1.0 / max_fpr))
        raise InsufficientProbes(
            f"{nonmember.size} non-members show no false positive rate of {max_fpr:g}: at least {needed} are needed.",
            needed=needed,
        )
    tied = float(counts[counts > 1].sum()) / (member.size + nonmember.size)
    if min(member.size, nonmember.size) < 2:
        return Coherence(tied, 1.0 / nonmember.size, 0.5, False)
    area = auroc(member, nonmember, confidence=1.0 - REVERSED / 2.0)
    check_points(roc_curve(member, nonmember), area.value, title=title)
    return Coherence(tied, 1.0 / nonmember.size, area.value, area.high < 0.5)


def check_points(curve: RocCurve, area: float, *, title: str = "The attack") -> None:
    """Refuse an AUROC that contradicts a point of its ROC.

    A point (FPR, TPR) leaves room for areas from TPR (1 - FPR) to 1 - FPR (1 - TPR) only; so an area is at least twice
    the best balanced accuracy minus 1.

    Args:
        curve: operating points; published ones will do.
        area: the AUROC said to belong to them.
        title: what messages call the attack.

    Raises:
        AuditError: they contradict each other; the message names the point.

    Source: Implements METHODS 7.12.
    """
    least = curve.tpr * (1.0 - curve.fpr)
    most = 1.0 - curve.fpr * (1.0 - curve.tpr)
    worst = int(np.argmax(np.maximum(least - area, area - most)))
    if least[worst] - area > ROUNDING or area - most[worst] > ROUNDING or not 0.0 <= area <= 1.0:
        raise AuditError(
            f"{title}: AUROC {area:.6g} and TPR {curve.tpr[worst]:.6g} at FPR {curve.fpr[worst]:.6g} contradict each "
            f"other: such a point needs an AUROC in [{least[worst]:.6g}, {most[worst]:.6g}]. One of them belongs to "
            "other scores."
        )
    best = float((curve.tpr - curve.fpr).max())  # 2 ASR - 1 at balanced prevalence
    if area < best - ROUNDING:
        raise AuditError(
            f"{title}: AUROC {area:.6g} is below 2 ASR - 1 = {best:.6g}, which no scores can show. One of them belongs "
            "to other scores."
        )


def _finite(role: str, scores: ArrayLike) -> FloatArray:
    values = np.asarray(scores, dtype=np.float64)
    broken = int((~np.isfinite(values)).sum())
    if broken:
        raise AuditError(f"{broken} of {values.size} {role} scores are NaN or infinite: find out why and score again.")
    return values
