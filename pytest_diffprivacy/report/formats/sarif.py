"""SARIF 2.1.0 for code scanning: refuted claims as errors, undecided ones as warnings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pytest_diffprivacy.visible import visible

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Claim, Run

ORDER: Final = 3
EXTENSION: Final = ".sarif"
HELP: Final = (
    "code scanning: SARIF 2.1.0: FAIL as error, INCONCLUSIVE as warning; a failure that its test expects is suppressed"
)
SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS: Final[Mapping[str, str]] = {"FAIL": "error", "INCONCLUSIVE": "warning"}
RULES: Final[Mapping[str, str]] = {
    "extraction": "Training images come back",
    "membership": "Training images can be recognised",
    "sharpness": "The model's density is needle-sharp at training images",
    "memorization": "A prompt brings back one image",
    "mitigation": "A mitigation leaves copies of training images, or loses what the prompt asked for",
}


def render(run: Run) -> str:
    """The run as SARIF 2.1.0: a result for every FAIL and INCONCLUSIVE, a notification for what was not judged.

    A failure that its test expects is a suppressed result, so that it raises no alarm and does not vanish either.
    """
    from pytest_diffprivacy.evidence.seals import record_digest

    kinds = sorted({claim.kind for claim in run.claims if claim.verdict in LEVELS})
    announced = run.expected_failures
    judged = run.verdict in ("PASS", "FAIL", "INCONCLUSIVE")
    driver = {
        "name": "pytest-diffprivacy",
        "version": visible(run.versions.get("pytest-diffprivacy", "unknown")),
        "rules": [_rule(kind) for kind in kinds],
    }
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {"id": visible(f"diffprivacy/{run.run_id}")},
                "invocations": [
                    {"executionSuccessful": judged, "toolExecutionNotifications": list(_notifications(run))}
                ],
                "results": [
                    _result(claim, kinds.index(claim.kind), claim.node_id in announced)
                    for claim in run.claims
                    if claim.verdict in LEVELS
                ],
                "properties": {"verdict": visible(run.verdict), "recordSha256": record_digest(run)},
            }
        ],
    }
    return json.dumps(document, ensure_ascii=True, indent=1) + "\n"


def _rule(kind: str) -> dict[str, Any]:
    title = RULES.get(kind, kind)
    return {"id": visible(f"diffprivacy/{kind}"), "name": visible(kind), "shortDescription": {"text": visible(title)}}


def _result(claim: Claim, rule: int, announced: bool) -> dict[str, Any]:
    reason = f"{claim.headline} Claim: {claim.sentence}. {claim.verdict.value}: {claim.reason}."
    result: dict[str, Any] = {
        "ruleId": visible(f"diffprivacy/{claim.kind}"),
        "ruleIndex": rule,
        "level": LEVELS[claim.verdict],
        "kind": "fail",
        "message": {"text": visible(reason + (f" Needed: {claim.needed}." if claim.needed else ""))},
        "locations": [_location(claim.node_id)],
        "partialFingerprints": {"diffprivacyClaim/v1": _fingerprint(claim)},
        "properties": {"claim": visible(claim.id), "limit": claim.limit, "redo": visible(claim.redo)},
    }
    if announced and claim.verdict == "FAIL":
        result["suppressions"] = [{"kind": "inSource", "justification": "The test expects this failure."}]
    return result


def _location(node_id: str) -> dict[str, Any]:
    """The test's file; a record knows no line, so the first stands for the file."""
    name = node_id.partition("::")[0] or "unknown"
    uri = quote(name.encode("utf-8", "replace").decode("utf-8"), safe="/")
    return {
        "physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}},
        "logicalLocations": [{"fullyQualifiedName": visible(node_id), "kind": "function"}],
    }


def _fingerprint(claim: Claim) -> str:
    """The same for the same claim of a later run, whatever its limit."""
    subject = f"{claim.node_id}|{claim.kind}|{[method.name for method in claim.methods]}"
    return hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()


def _notifications(run: Run) -> Iterator[dict[str, Any]]:
    for claim in run.claims:
        if claim.verdict == "ERROR":
            text = f"Not judged: {claim.sentence}. {claim.reason}"
            yield {"level": "error", "message": {"text": visible(text)}, "locations": [_location(claim.node_id)]}
    for text in run.missing:
        yield {"level": "error", "message": {"text": visible(f"No record of this audit test: {text}")}}
