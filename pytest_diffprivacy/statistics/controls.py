"""Does the instrument work? Where a leak was planted it must be found, and where there is none nothing may be found.

Both questions are asked of scores from the same code as the claim's. The error rates are small, because a run asks them
many times and a failed control stops it: at 0.001 a claim, an audit of 20 claims fails for nothing once in 50 runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its submodules are loaded when they are used: scipy.stats takes half a second
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction, check_scores
from pytest_diffprivacy.statistics.auroc import Auroc, auroc

SIGNIFICANCE = 0.001
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

    Source: Implements METHODS 7.11, negative control.
    """
    scores = check_scores("nonmember_scores", nonmember_scores)
    check_fraction("significance", significance)
    _enough(scores.size // 2)
    if np.ptp(scores) == 0.0:
        return ControlResult(True, None)
    shuffled = np.random.default_rng(check_count("seed", seed, least=0)).permutation(scores)
    area = auroc(shuffled[: scores.size // 2], shuffled[scores.size // 2 :], confidence=1.0 - significance / 2.0)
    return ControlResult(area.low <= 0.5 <= area.high, area)


def groups_agree(
    first_scores: ArrayLike, second_scores: ArrayLike, *, significance: float = SIGNIFICANCE
) -> ControlResult:
    """Negative control: held iff two groups between which nothing may differ do not separate beyond chance.

    Args:
        first_scores: shape (n1,), n1 >= 2.
        second_scores: shape (n0,), n0 >= 2.
        significance: two-sided; how often it fails although nothing is wrong.

    Raises:
        UsageError: an argument is wrong.
        InsufficientProbes: fewer than 2 images a side.

    Source: Implements METHODS 7.11, negative control, by the two-sided test of Mann and Whitney (1947).
    """
    first, second = check_scores("first_scores", first_scores), check_scores("second_scores", second_scores)
    check_fraction("significance", significance)
    if np.ptp(np.concatenate([first, second])) == 0.0:
        return ControlResult(True, None)
    area = auroc(first, second, confidence=1.0 - significance / 2.0)
    return ControlResult(bool(scipy.stats.mannwhitneyu(first, second).pvalue > significance), area)


def _enough(images: int) -> None:
    if images < LEAST:
        raise InsufficientProbes(
            f"A control needs at least {LEAST} images a side, got {images}. Add probes.", needed=2 * LEAST
        )
