"""Controls of an attack: a planted leak is found, where there is none nothing is found, and the scores are coherent.

They are asked of scores from the same code as the claim's. The error rates are small, because a run asks them many
times and a failed control stops it: at 0.001 a claim, an audit of 20 claims fails for nothing once in 50 runs.

A broken attack is silent in the same way as a safe model, so what cannot be true stops the audit: NaN, a constant, an
area under the curve that its own points rule out. What may be true and must be known is returned: ties, and an attack
that ranks members last. Such an attack may not be flipped after the labels were seen, and may not pass either: its
reverse recognises members.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its submodules are loaded when they are used: scipy.stats is slow to import
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import AuditError, InsufficientProbes
from pytest_diffprivacy.statistics.arguments import FloatArray, check_count, check_fraction, check_scores
from pytest_diffprivacy.statistics.auroc import Auroc, auroc
from pytest_diffprivacy.statistics.roc import RocCurve, roc_curve

SIGNIFICANCE = 0.001
REVERSED = 0.001
"""Significance at which members count as ranked last."""
ROUNDING = 1e-9
LEAST = 10
"""Images a side below which a control says little."""
LEAST_AREA = 0.7
"""Declared power: a full leak that an attack finds with a smaller AUROC counts as not found."""


@dataclass(frozen=True, slots=True)
class ControlResult:
    """Whether a control held, and the AUROC it was judged by.

    Attributes:
        held: as it must be for the audit to go on.
        area: with one-sided bounds at 0.95 (positive) or 1 - significance / 2 (negative); None where all scores are
            equal.
    """

    held: bool
    area: Auroc | None


def planted_found(
    planted_scores: ArrayLike, other_scores: ArrayLike, *, significance: float = SIGNIFICANCE
) -> ControlResult:
    """Positive control: held iff planted images score higher than others beyond chance, by an AUROC of at least 0.7.

    Args:
        planted_scores: shape (n1,), n1 >= 10; **higher = more likely a member**.
        other_scores: shape (n0,), n0 >= 10: images that were not planted.
        significance: how often an attack that finds nothing may pass for one that works.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: fewer than 10 images a side.

    Source: Implements METHODS 7.11, positive control, by the one-sided test of Mann and Whitney (1947), which tells ten
    images from ten where an interval of the AUROC would not.
    """
    planted, others = check_scores("planted_scores", planted_scores), check_scores("other_scores", other_scores)
    check_fraction("significance", significance)
    _enough(min(planted.size, others.size))
    if np.ptp(np.concatenate([planted, others])) == 0.0:
        return ControlResult(False, None)
    found = scipy.stats.mannwhitneyu(planted, others, alternative="greater").pvalue <= significance
    area = auroc(planted, others)
    return ControlResult(bool(found) and area.value >= LEAST_AREA, area)


def halves_agree(nonmember_scores: ArrayLike, *, seed: int, significance: float = SIGNIFICANCE) -> ControlResult:
    """Negative control: held iff two random halves of the non-members do not separate beyond chance.

    Args:
        nonmember_scores: shape (n0,), n0 >= 20.
        seed: of the halves.
        significance: two-sided; how often it fails although nothing is wrong.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: fewer than 20 non-members.

    Source: Implements METHODS 7.11, negative control. The halves are exchangeable whatever the scores, so it fails by
    chance alone: it shows that the test keeps its error on these scores, not that the attack is sound.
    """
    scores = check_scores("nonmember_scores", nonmember_scores)
    shuffled = np.random.default_rng(check_count("seed", seed, least=0)).permutation(scores)
    half = scores.size // 2
    return groups_agree(shuffled[:half], shuffled[half:], significance=significance)


def groups_agree(
    first_scores: ArrayLike, second_scores: ArrayLike, *, significance: float = SIGNIFICANCE
) -> ControlResult:
    """Negative control: held iff two groups between which nothing may differ do not separate beyond chance.

    Args:
        first_scores: shape (n1,), n1 >= 10.
        second_scores: shape (n0,), n0 >= 10.
        significance: two-sided; how often it fails although nothing is wrong.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: fewer than 10 images a side; of six no order is beyond chance.

    Source: Implements METHODS 7.11, negative control, by the two-sided test of Mann and Whitney (1947).
    """
    first, second = check_scores("first_scores", first_scores), check_scores("second_scores", second_scores)
    check_fraction("significance", significance)
    _enough(min(first.size, second.size))
    if np.ptp(np.concatenate([first, second])) == 0.0:
        return ControlResult(True, None)
    area = auroc(first, second, confidence=1.0 - significance / 2.0)
    return ControlResult(bool(scipy.stats.mannwhitneyu(first, second).pvalue > significance), area)


def _enough(images: int) -> None:
    if images < LEAST:
        raise InsufficientProbes(
            f"A control needs at least {LEAST} images a side, got {images}. Add probes.", needed=2 * LEAST
        )


@dataclass(frozen=True, slots=True)
class Coherence:
    """What a reader must know about two groups of scores that may be judged.

    Attributes:
        tied: share of the images whose score another image has as well; ties make bounds wider, never narrower.
        resolution: 1 / n0, the smallest false positive rate that the non-members can show.
        area: AUROC.
        ranked_last: whether members score lower than non-members beyond chance (two-sided significance 0.001), or
            every one lower than all of them.
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
    area = auroc(member, nonmember)
    check_points(roc_curve(member, nonmember), area.value, title=title)
    # The bounds of a nearly perfect separation are wide; the ranks themselves are not in doubt.
    reversed_p = scipy.stats.mannwhitneyu(member, nonmember, alternative="less").pvalue
    return Coherence(tied, 1.0 / nonmember.size, area.value, bool(reversed_p < REVERSED / 2.0 or area.value == 0.0))


def check_points(curve: RocCurve, area: float, *, title: str = "The attack") -> None:
    """Refuse an AUROC that contradicts a point of its ROC; published points will do.

    A point (FPR, TPR) leaves room for areas from TPR (1 - FPR) to 1 - FPR (1 - TPR) only; so an area is at least twice
    the best balanced accuracy minus 1.

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
