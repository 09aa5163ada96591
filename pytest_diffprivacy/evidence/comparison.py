"""Comparison with the last release: does this one leak more? Paired, on the same probes with the same noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.evidence.baseline import Baseline, Ranked, Standing
from pytest_diffprivacy.evidence.records import Comparison, ComparisonOutcome, Estimate
from pytest_diffprivacy.options import CompareRule
from pytest_diffprivacy.statistics import Verdict, auroc_difference, decide, mcnemar

OUTCOMES = {
    Verdict.FAIL: ComparisonOutcome.WORSE,
    Verdict.PASS: ComparisonOutcome.NOT_WORSE,
    Verdict.INCONCLUSIVE: ComparisonOutcome.UNDECIDED,
}
BESIDE = {
    ComparisonOutcome.WORSE: "worse than",
    ComparisonOutcome.NOT_WORSE: "not worse than",
    ComparisonOutcome.UNDECIDED: "neither worse nor shown not to be worse than",
    ComparisonOutcome.NOT_COMPARABLE: "not compared with",
}


@dataclass(frozen=True, slots=True)
class LastRelease:
    """What claims are compared with.

    Attributes:
        baseline: of the last release; None: there is none yet.
        rule: which outcomes fail a test.
        update: whether this run is to become the next baseline.
    """

    baseline: Baseline | None
    rule: CompareRule
    update: bool = False


@dataclass(frozen=True, slots=True)
class _Increase:
    """The largest increase of a family: lower bound corrected for their number, upper bound the largest of theirs."""

    value: float
    low: float
    high: float
    confidence: float
    old: float
    new: float
    name: str


def compare(
    old: Standing | None,
    new: Standing | None,
    *,
    run_id: str,
    rule: CompareRule,
    confidence: float,
    unpaired: str = "this claim leaves no scores by probe that could be paired",
) -> Comparison:
    """Compare one claim with that of the last release.

    "Not worse" is a claim of its own: its upper bound of the increase is at most the margin; "worse" needs the lower
    bound above it. For scores the increase is that of the AUROC (of the worst attack of a family), of prompts over
    reference prompts as of members over non-members; for generations that of the share of copies; for absolute limits
    that of the share beyond, and for both the exact McNemar test stands beside it.

    Args:
        old: what the last release left; None: it had no such claim.
        new: what this one leaves; None: its statistic cannot be paired.
        run_id: of the last release.
        rule: margin, and which outcomes fail.
        confidence: of each bound.
        unpaired: why this release leaves nothing, where it does.

    Source: Implements METHODS 7.7; DeLong et al. 1988 and McNemar 1947.
    """
    reason = _incomparable(old, new, unpaired)
    if old is None or new is None or reason:
        return Comparison(
            baseline_run=run_id if old else "",
            baseline_model=old.model if old else "",
            measured="nothing",
            outcome=ComparisonOutcome.NOT_COMPARABLE,
            reason=reason,
            margin=rule.margin,
            fails=rule.fails_on(ComparisonOutcome.NOT_COMPARABLE),
        )
    increase = _of_auroc(old, new, confidence) if new.ranked else _of_share(old, new, confidence)
    # A threshold that each release estimates from its own reference is not known: no test of flags by it.
    flags = None if new.ranked else mcnemar(_answers(old), _answers(new), confidence=confidence)
    decision = decide(increase, rule.margin)
    if new.ranked:
        own = new.ranked[increase.name]
        counts = f"the same {len(own.members)} members and {len(own.nonmembers)} non-members"
    else:
        counts = f"the same {len(_answers(new))} {'seeds' if new.copies else 'probes'}"
    return Comparison(
        baseline_run=run_id,
        baseline_model=old.model,
        measured=f"AUROC of {increase.name}" if new.ranked else f"share of {increase.name}",
        outcome=OUTCOMES[decision.verdict],
        reason=f"increase: {decision.reason.replace('limit', 'margin')}",
        margin=rule.margin,
        old=increase.old,
        new=increase.new,
        increase=Estimate(
            name="Increase, paired",
            value=increase.value,
            low=increase.low,
            high=increase.high,
            confidence=confidence,
            counts=counts,
        ),
        old_only=flags.old_only if flags else None,
        new_only=flags.new_only if flags else None,
        p_worse=flags.p_worse if flags else None,
        fails=rule.fails_on(OUTCOMES[decision.verdict]),
    )


def _incomparable(old: Standing | None, new: Standing | None, unpaired: str) -> str:
    """Why two claims cannot be paired; empty where they can."""
    if new is None:
        return unpaired
    if old is None:
        return "the last release has no such claim"
    if (old.members, old.nonmembers) != (new.members, new.nonmembers):
        return "the probes are not the same as in the last release: audit its model again on these"
    if old.method != new.method:
        return "the attack's parameters or the seed are not the same as in the last release"
    if old.flagged and new.ranked:
        return "the last release left flags of its prompts, and prompts are compared by their scores: make it anew"
    sizes = [(set(s.ranked), len(s.copies), len(s.flagged)) for s in (old, new)]
    if sizes[0] != sizes[1]:
        return (
            "the attacks or the number of generations are not the same as in the last release; "
            "`early_stop=False` makes all generations"
        )
    return ""


def _answers(standing: Standing) -> NDArray[np.bool_]:
    """Copies of generations, or flags of prompts and members."""
    return np.array(standing.copies or standing.flagged, dtype=bool)


def _of_share(old: Standing, new: Standing, confidence: float) -> _Increase:
    sides = _answers(old), _answers(new)
    found = mcnemar(*sides, confidence=confidence)
    rates = float(sides[0].mean()), float(sides[1].mean())
    name = "copies" if new.copies else "flagged probes"
    return _Increase(found.value, found.low, found.high, confidence, *rates, name=name)


def _of_auroc(old: Standing, new: Standing, confidence: float) -> _Increase:
    strict = 1.0 - (1.0 - confidence) / len(new.ranked)
    pairs = {name: (_scores(new.ranked[name]), _scores(old.ranked[name])) for name in new.ranked}
    plain = {name: auroc_difference(*pair, confidence=confidence) for name, pair in pairs.items()}
    lows = {name: auroc_difference(*pair, confidence=strict).low for name, pair in pairs.items()}
    worst = max(plain, key=lambda name: (lows[name], plain[name].value))
    return _Increase(
        value=max(found.value for found in plain.values()),
        low=lows[worst],
        high=max(found.high for found in plain.values()),
        confidence=confidence,
        old=plain[worst].second,
        new=plain[worst].first,
        name=worst,
    )


def _scores(ranked: Ranked) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.array(ranked.members), np.array(ranked.nonmembers)


def comparison_lines(comparison: Comparison) -> Mapping[str, str]:
    """The comparison as a block of the terminal shows it: label -> text."""
    lines = {"compared": f"{BESIDE[comparison.outcome]} the last release: {comparison.reason}"}
    if comparison.p_worse is not None:
        lines["flagged"] = (
            f"{comparison.old_only} probes in the last release only, {comparison.new_only} in this one only "
            f"(McNemar p = {comparison.p_worse:.3g})"
        )
    return lines
