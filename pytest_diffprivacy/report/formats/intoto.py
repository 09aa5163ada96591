"""in-toto Statements v1 with the test-result predicate, one a model, which can be signed and attached to a release.

The subject is the model: its digest is this project's over configuration and weights, under a name of its own, because
it is not that of any one file. The configuration names the record's sha256, which covers all evidence. A statement is
not signed: sign it with the tool of your release (cosign, a build platform's attestations). A statement is a line, so
that those of several models make a bundle as in-toto defines it (JSON Lines).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pytest_diffprivacy.visible import visible

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Claim, Model, Run

ORDER: Final = 5
EXTENSION: Final = ".intoto.json"
HELP: Final = (
    "release signing: in-toto Statement v1, test-result, a line a model; PASSED only if every claim about the model "
    "held, demonstrations included"
)
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://in-toto.io/attestation/test-result/v0.1"
UNPROVEN: Final = ("FAIL", "ERROR", "INCONCLUSIVE")
DIGEST_NAME: Final = "diffprivacyWeightsSha256"


def render(run: Run) -> str:
    """The statements, a line each; claims about scores made elsewhere are a statement about the record.

    A demonstration is about a model that leaks, so that one without a model says nothing about the record.
    """
    groups: dict[str, list[Claim]] = {}
    for claim in run.claims:
        if claim.model or claim.node_id not in run.expected_failures:
            groups.setdefault(claim.model.digest if claim.model else "", []).append(claim)
    statements = [_statement(run, claims) for claims in groups.values() or [[]]]
    return "".join(json.dumps(statement, ensure_ascii=True) + "\n" for statement in statements)


def _statement(run: Run, claims: Sequence[Claim]) -> dict[str, Any]:
    """It speaks of the model, not of the suite: a refuted claim is failed even if it was a demonstration.

    WARNED is never used: a warned test is one that passed, and an undecided claim did not.
    """
    from pytest_diffprivacy.evidence.seals import record_digest

    failed = [_name(claim) for verdict in UNPROVEN for claim in claims if claim.verdict == verdict]
    failed += [visible(f"no record: {text}") for text in run.missing]
    record = {"name": "pytest-diffprivacy record", "digest": {"sha256": record_digest(run)}}
    model = claims[0].model if claims else None
    return {
        "_type": STATEMENT,
        "subject": [_subject(model) if model else record],
        "predicateType": PREDICATE,
        "predicate": {
            "result": "PASSED" if not failed and _passed(run, claims) else "FAILED",
            "configuration": [record | {"mediaType": "application/json"}],
            "passedTests": [_name(claim) for claim in claims if claim.verdict == "PASS"],
            "warnedTests": [],
            "failedTests": failed,
        },
    }


def _passed(run: Run, claims: Sequence[Claim]) -> bool:
    """Whether the run would be a PASS if it had been about this model alone.

    A run that is none must be so for another model's claims: what is said of the whole run is said of this model too.
    """
    from pytest_diffprivacy.evidence.runs import judge_run

    nodes = {claim.node_id for claim in claims}
    tests = [test for test in run.tests if test.node_id in nodes]
    verdict, _ = judge_run(claims, tests, run.missing, attempts=run.attempts, policy=run.policy, gone=run.gone)
    others = any(claim.verdict != "PASS" and claim not in claims for claim in run.claims)
    return verdict == "PASS" and (run.verdict == "PASS" or (others and run.verdict in UNPROVEN))


def _subject(model: Model) -> dict[str, Any]:
    return {"name": visible(model.name), "digest": {DIGEST_NAME: visible(model.digest)}}


def _name(claim: Claim) -> str:
    return visible(f"{claim.node_id or 'no test'}: {claim.sentence}")
