"""Vote of DRC: how many restoration tasks must agree before an image is called a member.

One set of non-members sets each task's threshold, another one the number of votes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import AuditError, InsufficientProbes, UsageError
from pytest_diffprivacy.statistics import binomial_upper
from pytest_diffprivacy.statistics.arguments import check_count, check_fraction, check_significance


@dataclass(frozen=True, slots=True)
class DrcVote:
    """A calibrated vote: an image is called a member if at least `needed` tasks score above their thresholds.

    Attributes:
        thresholds: one a task; a task votes "member" where its score is strictly above.
        needed: k*, the number of votes.
        false_positives: of the second set, how many images had at least 1, 2, ..., K votes.
        nonmembers: images in the second set.
        fpr_upper: one-sided upper bound of the vote's false positive rate ...
        max_fpr: ... which is at most this ...
        confidence: ... with this confidence.
    """

    thresholds: tuple[float, ...]
    needed: int
    false_positives: tuple[int, ...]
    nonmembers: int
    fpr_upper: float
    max_fpr: float
    confidence: float

    def votes(self, task_scores: ArrayLike) -> NDArray[np.int64]:
        """How many tasks call each image a member.

        Args:
            task_scores: (n, K) from `drc_task_scores`, the columns as in the calibration.

        Returns:
            int64 (n,), 0 to K. Usable as a score: higher = more likely member.

        Raises:
            UsageError: another number of tasks, or scores that are not finite.
        """
        scores = _task_scores("task_scores", task_scores, len(self.thresholds))
        above: NDArray[np.bool_] = scores > np.asarray(self.thresholds)
        return np.asarray(above.sum(1), dtype=np.int64)

    def members(self, task_scores: ArrayLike) -> NDArray[np.bool_]:
        """Which images the vote calls members: bool (n,)."""
        return self.votes(task_scores) >= self.needed


def calibrate_vote(
    threshold_scores: ArrayLike,
    vote_scores: ArrayLike,
    *,
    max_fpr: float,
    task_fpr: float | None = None,
    confidence: float = 0.95,
) -> DrcVote:
    """Find the smallest number of agreeing tasks whose false positive rate is bounded.

    The numbers K, K-1, ... are tested in this order, so that no correction for their number is due; the first that
    fails ends the search.

    Args:
        threshold_scores: (n, K) scores of non-members; task q's threshold is the smallest of them that at most a share
            `task_fpr` exceeds.
        vote_scores: (n', K) scores of OTHER non-members.
        max_fpr: allowed share of non-members that the vote calls members, in (0, 1).
        task_fpr: share of the first set that one task may call members; None: `max_fpr`. Larger values make single
            tasks laxer and let agreement do the work. Fix it before members are scored.
        confidence: of the bound of the false positive rate.

    Returns:
        The vote. Its bound holds for images drawn like the second set.

    Raises:
        UsageError: bad scores, different numbers of tasks, or the same scores twice.
        InsufficientProbes: the second set is too small for this rate even without any false positive.
        AuditError: even all tasks together call too many non-members members.

    Source: Implements METHODS 3.11, "Agreement"; the DRC paper does not state its rule.
    """
    alpha = check_significance(confidence)
    limit = check_fraction("max_fpr", max_fpr)
    share = check_fraction("task_fpr", limit if task_fpr is None else task_fpr)
    first = _task_scores("threshold_scores", threshold_scores)
    second = _task_scores("vote_scores", vote_scores, first.shape[1])
    if np.array_equal(first, second):
        raise UsageError("`vote_scores` must come from other non-members than `threshold_scores`, got the same scores.")
    if allowed_false_positives(len(second), limit, confidence=confidence) is None:
        least = math.ceil(math.log(alpha) / math.log1p(-limit))
        raise InsufficientProbes(
            f"Cannot bound the vote's FPR at {limit:g} from {len(second)} non-members: at least {least} are needed. "
            "Raise max_fpr or add non-members.",
            needed=least,
        )
    thresholds = -np.sort(-first, axis=0)[math.floor(share * len(first))]
    votes = (second > thresholds).sum(1)
    tasks = second.shape[1]
    counts = [int((votes >= k).sum()) for k in range(1, tasks + 1)]
    bounds = [binomial_upper(count, len(second), confidence=confidence) for count in counts]
    needed = tasks + 1
    while needed > 1 and bounds[needed - 2] <= limit:
        needed -= 1
    if needed > tasks:
        raise AuditError(
            f"All {tasks} tasks agree on {counts[-1]} of {len(second)} non-members, which bounds the FPR at "
            f"{bounds[-1]:.4g} and not at {limit:g}. Lower task_fpr, add tasks, or add non-members."
        )
    return DrcVote(
        thresholds=tuple(float(t) for t in thresholds),
        needed=needed,
        false_positives=tuple(counts),
        nonmembers=len(second),
        fpr_upper=bounds[needed - 1],
        max_fpr=limit,
        confidence=float(confidence),
    )


def allowed_false_positives(nonmembers: int, max_fpr: float, *, confidence: float = 0.95) -> int | None:
    """The largest number of false positives among n non-members that still bounds the rate at `max_fpr`.

    Returns:
        The number, or None where even 0 does not.

    Raises:
        UsageError: an argument out of range.

    Source: Implements METHODS 3.11, table of "Agreement".
    """
    n = check_count("nonmembers", nonmembers, least=1)
    limit = check_fraction("max_fpr", max_fpr)
    if binomial_upper(0, n, confidence=confidence) > limit:
        return None
    low, high = 0, n  # the bound is at most the limit at low and above it at high
    while high - low > 1:
        middle = (low + high) // 2
        within = binomial_upper(middle, n, confidence=confidence) <= limit
        low, high = (middle, high) if within else (low, middle)
    return low


def _task_scores(name: str, values: ArrayLike, tasks: int | None = None) -> NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0 or (tasks is not None and scores.shape[1] != tasks):
        wanted = "K" if tasks is None else tasks
        raise UsageError(f"`{name}` must have shape (images, {wanted}), got {scores.shape}. Use drc_task_scores.")
    if not np.isfinite(scores).all():
        raise UsageError(f"`{name}` must be finite, got {int((~np.isfinite(scores)).sum())} that are not. Score again.")
    return scores
