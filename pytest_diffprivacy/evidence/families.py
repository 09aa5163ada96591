"""Which claims of a run are refuted, taken together? PASS needs every claim, FAIL is corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_diffprivacy.evidence.attempts import counted_verdict
from pytest_diffprivacy.evidence.records import Attempts, Claim, Family, FamilyMember, TestOutcome
from pytest_diffprivacy.statistics.holm import holm
from pytest_diffprivacy.statistics.verdict import Verdict

CORRECTION = (
    "PASS needs every claim (intersection-union, no correction); FAIL is corrected by Holm for all audits collected "
    "and every attempt at a claim"
)


def run_family(
    claims: Sequence[Claim],
    tests: Sequence[TestOutcome],
    attempts: Sequence[Attempts],
    *,
    audits: int,
    significance: float,
) -> Family:
    """Correct the claims of a run for their number.

    Args:
        claims: all claims of the run.
        tests: what became of their tests; violations that a test expects accuse nobody.
        attempts: the claims that were judged more than once.
        audits: audit tests collected, deselected ones included, which was fixed before any of them was run.
        significance: of the family.

    Source: Implements METHODS 7.8.
    """
    times = {again.claim: len(again.verdicts) for again in attempts}
    silent = {test.node_id for test in tests} - {claim.node_id for claim in claims}
    size = len(silent) + sum(times.get(claim.id, 1) for claim in claims)
    excused = {test.node_id for test in tests if test.expected_failure}
    judged = [c for c in claims if not (c.verdict is Verdict.FAIL and c.node_id in excused)]
    p_values = [_p_value(claim, counted_verdict(claim, attempts)) for claim in judged]
    corrected = holm(p_values, significance=significance, size=max(size, audits))
    return Family(
        audits=audits,
        size=corrected.size,
        significance=significance,
        correction=CORRECTION,
        members=tuple(
            FamilyMember(claim=claim.id, p_value=p, adjusted=adjusted, refuted=refuted)
            for claim, p, adjusted, refuted in zip(judged, p_values, corrected.adjusted, corrected.refuted, strict=True)
        ),
    )


def _p_value(claim: Claim, verdict: Verdict) -> float:
    """Of the claim; where it left none, a refuted one has at most its significance and any other says nothing."""
    if verdict is Verdict.FAIL:
        at_most = 1.0 - claim.confidence
        return at_most if claim.p_value is None or claim.verdict is not Verdict.FAIL else min(claim.p_value, at_most)
    return 1.0 if claim.p_value is None or verdict is Verdict.ERROR else claim.p_value
