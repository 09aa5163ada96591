"""The share of images or prompts that score above a reference's quantile, or above an absolute value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pytest_diffprivacy.audit import Claim, Findings
from pytest_diffprivacy.claims.two_groups import Groups
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence.records import ControlOutcome
from pytest_diffprivacy.sources import Source
from pytest_diffprivacy.sources.controls import check_sign, negative_controls
from pytest_diffprivacy.sources.score_figures import WorkingPoint
from pytest_diffprivacy.statistics import Measured
from pytest_diffprivacy.statistics.arguments import as_number, check_finite
from pytest_diffprivacy.statistics.family import FamilyTprStatistic
from pytest_diffprivacy.statistics.rate import RateStatistic, Trials


@dataclass(frozen=True, slots=True)
class Threshold:
    """Above what a score counts: a quantile of the reference's scores, or an absolute value if one is given.

    Raises:
        UsageError: a quantile outside [0.5, 1), or a value that is not finite.
    """

    quantile: float
    above: float | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= as_number("reference_quantile", self.quantile) < 1.0:
            raise UsageError(f"`reference_quantile` must be in [0.5, 1), got {self.quantile!r}.")
        if self.above is not None:
            check_finite("sharp_above", self.above)

    def of(self, reference: str) -> str:
        """As part of a sentence, with what the reference is called."""
        return f"the {self.quantile:g} quantile of {reference}" if self.above is None else f"{self.above:g}"

    @property
    def terms(self) -> dict[str, float]:
        """What a policy may bind."""
        return {"reference_quantile": self.quantile} if self.above is None else {"sharp_above": self.above}

    def statistic(self, confidence: float, sides: tuple[str, str], limit: float) -> FamilyTprStatistic | RateStatistic:
        """What is judged: a TPR whose false positives are the reference's, or a rate.

        Args:
            confidence: of each bound.
            sides: what a reader calls those in question and the reference.
            limit: of the claim.
        """
        if self.above is not None:
            return RateStatistic(confidence=confidence, trials=Trials(name=sides[0], clean="none of which is sharper"))
        max_fpr = round(1.0 - self.quantile, 12)
        return FamilyTprStatistic(max_fpr=max_fpr, confidence=confidence, limit=limit, sides=sides, reference=True)


def share_above(
    findings: Findings,
    source: Source,
    threshold: Threshold,
    claim: Claim,
    groups: Groups,
    *,
    arrays: tuple[str, str],
    seed: int,
) -> Measured:
    """Measure the share; everything else that a reader wants goes into the findings.

    Args:
        findings: the claim's.
        source: scores, higher = sharper or memorized.
        threshold: above what a score counts.
        claim: gives limit and confidence.
        groups: what a reader calls both sides.
        arrays: names of both sides' scores in the record.
        seed: of the control's halves.

    Raises:
        InsufficientProbes: the reference is too small for the quantile.
        AuditError: a control failed, or nothing follows from the scores.
    """
    source.describe(findings)
    statistic = threshold.statistic(claim.confidence, groups.sides, claim.limit)
    if threshold.above is not None:
        scores = source.side(findings, 0)
        broken = int((~np.isfinite(scores)).sum())
        if broken:
            raise AuditError(f"{broken} of {len(scores)} scores are NaN or infinite. Find out why and score again.")
        findings.arrays[arrays[0]] = scores
        beside = source.side(findings, 1) if len(source.counts) > 1 else scores[:0]
        together = np.concatenate([scores, beside])
        if len(together) > 1 and np.ptp(together) == 0.0:
            raise AuditError(f"{source.label}: all {len(together)} scores equal {scores[0]:g}: it looks at nothing.")
        if len(beside):
            remedy = "Check the sign: sharper must be higher, or judge by `reference_quantile`"
            check_sign(findings, (scores, beside), source.label, groups.whom, remedy)
        hits = (scores > threshold.above).astype(np.uint8)
        return findings.measure(statistic, {"hits": {arrays[0].replace("scores", "above"): hits}}, claim.limit)
    assert isinstance(statistic, FamilyTprStatistic), "a share above a quantile is a TPR"
    ((name, pair),) = source.scores(findings).items()
    controlled = any(c.kind == "positive" and c.outcome is ControlOutcome.HELD for c in findings.controls)
    groups.check_order(findings, pair, source.label, source.remedy, controlled=controlled)
    others = groups.names[1]
    negative_controls({name: pair}, {name: source.label}, seed, findings, others=others)
    if min(map(len, pair)) > 1:
        replace(groups, counts=source.subject.counts).add_auroc(findings, pair, claim.confidence)
    if source.split is not None:
        source.split.compare(findings, "", *pair)
    groups.add_histogram(findings, pair)
    groups.add_roc(findings, pair, WorkingPoint(statistic.max_fpr, claim.limit, claim.confidence))
    named = {"members": {arrays[0]: pair[0]}, "nonmembers": {arrays[1]: pair[1]}}
    return findings.measure(statistic, named, claim.limit)
