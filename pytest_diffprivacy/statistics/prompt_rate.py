"""Prompt rate: the share of prompts that bring one image back, given what was found for each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.statistics.arguments import IntArray, check_rule, check_significance
from pytest_diffprivacy.statistics.binomial import upper_bound
from pytest_diffprivacy.statistics.copies import copying_luck
from pytest_diffprivacy.statistics.early_plan import early_facts, early_trials, expected_items
from pytest_diffprivacy.statistics.early_rate import AT_ZERO, EarlyRate, check_looks, early_rates
from pytest_diffprivacy.statistics.rate import Trials, excess_rate, more_trials, rate, rate_facts, trials_needed
from pytest_diffprivacy.statistics.sample_size import HINT, about, both_sides
from pytest_diffprivacy.statistics.statistic import Statistic, Stored, only, statistic
from pytest_diffprivacy.statistics.verdict import Bounded


@dataclass(frozen=True, slots=True)
class PromptRate(Bounded):
    """The share of prompts that bring an image back.

    Attributes:
        value: such prompts / prompts.
        low: lower bound, of what the control does not explain where there is one; undecided prompts count as none.
        high: upper bound; undecided prompts count as hits.
        hits: prompts that bring an image back.
        undecided: prompts whose search was given up.
        false_matches: prompts whose image matches an unseen one as well; None without a control.
        prompts: how many were searched.
    """

    hits: int
    undecided: int
    false_matches: int | None
    prompts: int


def prompt_rate(
    hits: ArrayLike,
    undecided: ArrayLike,
    false_matches: ArrayLike | None = None,
    *,
    compared: ArrayLike | None = None,
    confidence: float = 0.95,
) -> PromptRate:
    """Bound the share of prompts that bring an image back; the prompts are taken as a sample of prompts like them.

    Args:
        hits: which prompts do at which guidance scale, bool (prompts, scales); one scale is enough.
        undecided: of which that is undecided, (prompts, scales); prompts that are hits all the same do not count.
        false_matches: whose image matches one of as many unseen images, (prompts, scales); None: no control.
        compared: which hits are of as many training images as there are unseen ones, (prompts, scales); None: all.
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
    equal = known if compared is None else int(np.asarray(compared, dtype=np.bool_).any(1).sum())
    low = plain.low if matched is None else excess_rate(equal, count, matched, count, confidence=confidence).low
    high = upper_bound(known + left, count, significance)
    return PromptRate(plain.value, low, high, plain.confidence, known, left, matched, count)


@statistic("prompt_rate")
@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRateStatistic(Statistic):
    """The share of prompts that bring an image back, from the distances of each prompt's clique of generations.

    Arrays, (prompts, guidance scales): "flagged" (there is a clique), "undecided" (its search was given up), "l2" of
    the clique to all training images, "compared_l2" and "nearest_compared" to as many of them as there are unseen ones,
    "control_l2" and "nearest_control" to these, "own" (the compared image is one of the prompt's own); where the search
    could stop early, in the order of asking, with "looks", "looks_low" and "looks_high", the bounds after so many
    prompts. PASS is by all training images; the lower bound by the compared ones, and where the exchange of training
    and unseen images explains whose images come back, by the prompts' own images alone.

    Attributes:
        delta: largest RMS distance of a copy.
        compared: whether the training images are known; 0: a clique counts as it is.
        planned: prompts there are, where the search may stop early, their order having been drawn; 0: it may not.
        at_zero: what of the early bounds' capital is bet on a model that brings nothing back.
        images: training images that are compared, and as many unseen ones.
        rule: 2; 1: a prompt with training images of its own was compared with these alone.
    """

    delta: float
    confidence: float
    compared: int
    planned: int = 0
    at_zero: float = AT_ZERO
    images: int = 0
    rule: int = 2

    def measure(self, arrays: Stored) -> PromptRate:
        """`prompt_rate` of what lies within `delta`, with the bounds of the last look where there are looks.

        Raises:
            UsageError: the stored bounds at the looks are not those of the stored distances.
        """
        if "looks" in arrays:
            check_looks(self.trajectory(arrays, only(arrays, "looks")), arrays)
        found = self._bounds(arrays, self._compared(arrays))
        if found.low > 0.0 and self._by_luck(arrays) > check_significance(self.confidence):
            return replace(found, low=self._bounds(arrays, self._compared(arrays, own=True)).low)
        return found

    def _bounds(self, arrays: Stored, compared: NDArray[np.bool_]) -> PromptRate:
        """The bounds where these hits, (prompts, guidance scales), are compared with the control."""
        hits, undecided, false = self._flags(arrays)
        matched = false if self.compared else None
        found = prompt_rate(hits, undecided, matched, compared=compared, confidence=self.confidence)
        if not self.planned:
            return found
        (last,) = self._course(arrays, compared, np.array([found.prompts]))
        return replace(found, low=min(last.low, found.value), high=last.high)

    def trajectory(self, arrays: Stored, looks: IntArray) -> list[EarlyRate]:
        """The bounds at each look; an undecided prompt counts as a hit in the upper one, as none in the lower."""
        return self._course(arrays, self._compared(arrays), looks)

    def _course(self, arrays: Stored, compared: NDArray[np.bool_], looks: IntArray) -> list[EarlyRate]:
        hits, undecided, false = (flags.any(1) for flags in self._flags(arrays))
        return early_rates(
            hits | undecided,
            compared.any(1).astype(np.int8) - false.astype(np.int8),
            looks,
            confidence=self.confidence,
            at_zero=self.at_zero,
            controlled=bool(self.compared),
        )

    def p_value(self, arrays: Stored, limit: float) -> float | None:
        """That of the bounds at the last look."""
        return Statistic.p_value(self, {r: named for r, named in arrays.items() if not r.startswith("looks")}, limit)

    def expected(self, counts: tuple[int, ...], limit: float) -> int | None:
        """Prompts after which a model that brings nothing back passes; None: all of them, or it cannot."""
        if not self.planned:
            return None
        return expected_items(counts[0], limit, confidence=self.confidence, at_zero=self.at_zero)

    def _flags(self, arrays: Stored) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Hits, undecided ones and false matches, (prompts, guidance scales)."""
        flagged, undecided = (only(arrays, role).astype(np.bool_) for role in ("flagged", "undecided"))
        if not self.compared:
            return flagged, undecided, np.zeros_like(flagged)
        hits, false = (flagged & (only(arrays, role) <= float(self.delta)) for role in ("l2", "control_l2"))
        return hits, undecided, false

    def _compared(self, arrays: Stored, *, own: bool = False) -> NDArray[np.bool_]:
        """Hits of as many training images as there are unseen ones, or of the prompts' own, (prompts, scales)."""
        if not self.compared or check_rule(self.rule) == 1:
            return self._flags(arrays)[0]
        near = only(arrays, "compared_l2") <= float(self.delta)
        found = only(arrays, "flagged").astype(np.bool_) & near
        return np.asarray(found & only(arrays, "own").astype(np.bool_) if own else found, dtype=np.bool_)

    def _by_luck(self, arrays: Stored) -> float:
        """As `copying_luck`, each prompt's nearest image counted once; 0 by the first rule and without a control."""
        if not self.compared or check_rule(self.rule) == 1:
            return 0.0
        false = self._flags(arrays)[2]
        members, unseen = (
            only(arrays, nearest)[rows, np.where(matched, only(arrays, distances), np.inf)[rows].argmin(1)]
            for matched, nearest, distances in (
                (self._compared(arrays), "nearest_compared", "compared_l2"),
                (false, "nearest_control", "control_l2"),
            )
            for rows in (np.flatnonzero(matched.any(1)),)
        )
        return copying_luck(members, unseen, int(self.images))

    def needed(self, arrays: Stored, measured: PromptRate, limit: float) -> str:
        """Prompts that would decide, or what makes the undecided ones decided."""
        if measured.undecided:
            return f"{measured.undecided} prompts were left undecided: raise cliques_tried, or lower edge_threshold"
        if self.planned:
            false = (measured.false_matches or 0) / measured.prompts
            return early_trials(measured, measured.prompts, false, limit, at_zero=self.at_zero, trials="prompts")
        if measured.false_matches is None:
            decided = trials_needed(measured.value, limit, confidence=measured.confidence, power=HINT)
            return f"{about(decided)} prompts would decide at the observed rate"
        return more_trials(measured, measured.false_matches / measured.prompts, limit, trials="prompts")

    def plan(self, counts: tuple[int, ...], limit: float) -> dict[str, str]:
        """Plan for (prompts, generations at a guidance scale, guidance scales[, members, non-members])."""
        prompts, generations, scales, *sides = counts
        if prompts == 0:
            why = "undefined, because no prompts are given and the members have no captions"
            return {"probes": "no prompts", "to pass": why, "to fail": why}
        words = Trials(
            name="prompts",
            clean="that bring nothing back",
            beside=f"{generations} generations at each of {scales} guidances"
            + (f"; {both_sides(*sides)}" if sides else ""),
            controls=prompts if sides else 0,
        )
        facts = early_facts if self.planned else rate_facts
        return facts(prompts, limit, self.confidence, words)
