"""What does a CI server's test page keep? Properties of the whole suite: JUnit's strict form allows none at a test."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report.text import number, visible


def junit_properties(run: Run) -> Iterator[tuple[str, str]]:
    """Name and value of each property: run, verdict, digest, then two a claim."""
    yield "diffprivacy.run", visible(run.run_id)
    yield "diffprivacy.verdict", visible(run.verdict)
    yield "diffprivacy.record_sha256", record_digest(run)
    for claim in run.claims:
        name = visible(f"diffprivacy.claim.{claim.id}")
        e = claim.estimate
        observed = f"; observed {number(e.value)} [{number(e.low)}, {number(e.high)}]" if e else ""
        yield name, visible(f"{claim.verdict.value}: {claim.sentence}{observed}; limit {number(claim.limit)}")
        yield f"{name}.test", visible(claim.node_id)
