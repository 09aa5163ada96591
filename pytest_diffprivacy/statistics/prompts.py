"""Of how many prompts does the model bring one image back, given what was found for each?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import check_significance
from pytest_diffprivacy.statistics.binomial import upper_bound
from pytest_diffprivacy.statistics.rate import excess_rate, rate


@dataclass(frozen=True, slots=True)
class PromptRate:
    """The share of prompts that bring an image back.

    Attributes:
        value: such prompts / prompts.
        low: lower bound, of what the control does not explain where there is one; undecided prompts count as none.
        high: upper bound; undecided prompts count as hits.
        confidence: of each bound.
        hits: prompts that bring an image back.
        undecided: prompts whose search was given up.
        false_matches: prompts whose image matches an unseen one as well; None without a control.
        prompts: how many were asked.
    """

    value: float
    low: float
    high: float
    confidence: float
    hits: int
    undecided: int
    false_matches: int | None
    prompts: int


def prompt_rate(
    hits: ArrayLike, undecided: ArrayLike, false_matches: ArrayLike | None = None, *, confidence: float = 0.95
) -> PromptRate:
    """Bound the share of prompts that bring an image back; the prompts are taken as a sample of prompts like them.

    Args:
        hits: which prompts do at which guidance scale, bool (prompts, scales); one scale is enough.
        undecided: of which that could not be told, (prompts, scales); prompts that are hits all the same do not count.
        false_matches: whose image matches one of as many unseen images, (prompts, scales); None: no control.
        confidence: of each bound, in (0.5, 1).

    Raises:
        UsageError: arrays of different shapes, or empty.

    Source: METHODS 1.4 and 7.1; what an undecided prompt counts as is ours.
    """
    significance = check_significance(confidence)
    found = np.asarray(hits, dtype=np.bool_)
    unknown = np.asarray(undecided, dtype=np.bool_)
    false = None if false_matches is None else np.asarray(false_matches, dtype=np.bool_)
    if found.ndim != 2 or unknown.shape != found.shape or (false is not None and false.shape != found.shape):
        raise UsageError(f"`hits`, `undecided` and `false_matches` must be (prompts, scales), got {found.shape}.")
    back = np.asarray(found.any(1))
    count, known, left = len(back), int(back.sum()), int((unknown.any(1) & ~back).sum())
    plain = rate(known, count, confidence=confidence)
    matched = None if false is None else int(false.any(1).sum())
    low = plain.low if matched is None else excess_rate(known, count, matched, count, confidence=confidence).low
    high = upper_bound(known + left, count, significance)
    return PromptRate(plain.value, low, high, plain.confidence, known, left, matched, count)
