"""A run in short texts: lines of a terminal, and properties of a CI server's test page."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report.text import number
from pytest_diffprivacy.statistics.verdict import Verdict
from pytest_diffprivacy.visible import visible


def run_lines(run: Run) -> list[str]:
    """The run as lines of text, with nothing in them that a terminal could act on."""
    excused = run.expected_failures
    lines = [_claim_line(claim, claim.node_id in excused) for claim in run.claims]
    lines += [f"MISSING       {text}" for text in run.missing]
    if run.policy is not None:
        lines += [f"LACKING       {text}" for text in run.policy.uncovered]
        lines.append(
            f"policy        {len(run.policy.entries)} limits of {run.policy.origin}, sha256 {run.policy.sha256}"
        )
    lines += [f"INCIDENT      {text}" for text in run.incidents]
    lines.append(f"run           {run.verdict}: {run.verdict_reason}")
    return [" ".join(visible(line).splitlines()) for line in lines]


def _claim_line(claim: Claim, excused: bool) -> str:
    e = claim.estimate
    observed = f"observed {e.value:.4g} [{e.low:.4g}, {e.high:.4g}]" if e else claim.reason
    test = f"{claim.node_id}: " if claim.node_id else ""
    model = f"{claim.model.name}: " if claim.model else ""
    expected = " (a demonstration)" if excused and claim.verdict is Verdict.FAIL else ""
    return f"{claim.verdict.value:<13} {test}{model}{claim.sentence}: {observed}{expected}"


def junit_properties(run: Run) -> Iterator[tuple[str, str]]:
    """Name and value of each property of the whole suite: JUnit's strict form allows none at a test.

    Run, verdict and digest, then two a claim.
    """
    yield "diffprivacy.run", visible(run.run_id)
    yield "diffprivacy.verdict", visible(run.verdict)
    yield "diffprivacy.record_sha256", record_digest(run)
    for claim in run.claims:
        name = visible(f"diffprivacy.claim.{claim.id}")
        e = claim.estimate
        observed = f"; observed {number(e.value)} [{number(e.low)}, {number(e.high)}]" if e else ""
        yield name, visible(f"{claim.verdict.value}: {claim.sentence}{observed}; limit {number(claim.limit)}")
        yield f"{name}.test", visible(claim.node_id)
