"""What does a terminal show of a run? A line a claim, what is missing, and the verdict of the whole."""

from __future__ import annotations

from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.report.text import visible
from pytest_diffprivacy.statistics.verdict import Verdict


def run_lines(run: Run) -> list[str]:
    """The run as lines of text, with nothing in them that a terminal could act on."""
    excused = {test.node_id for test in run.tests if test.expected_failure}
    lines = [_claim_line(claim, claim.node_id in excused) for claim in run.claims]
    lines += [f"MISSING       {text}" for text in run.missing]
    if run.policy is not None:
        lines += [f"LACKING       {text}" for text in run.policy.lacking]
        lines.append(
            f"policy        {len(run.policy.entries)} limits of {run.policy.origin}, sha256 {run.policy.sha256}"
        )
    lines += [f"INCIDENT      {text}" for text in run.incidents]
    lines.append(f"run           {run.verdict}: {run.verdict_reason}")
    return [" ".join(visible(line).splitlines()) for line in lines]


def _claim_line(claim: Claim, excused: bool) -> str:
    e = claim.estimate
    observed = f"observed {e.value:.4g} [{e.low:.4g}, {e.high:.4g}]" if e else claim.reason
    model = f"{claim.model.name}: " if claim.model else ""
    expected = " (expected by its test)" if excused and claim.verdict is Verdict.FAIL else ""
    return f"{claim.verdict.value:<13} {model}{claim.sentence}: {observed}{expected}"
