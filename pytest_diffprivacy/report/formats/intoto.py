"""in-toto Statement v1 with the test-result predicate, which can be signed and attached to a release.

The subject is the model: its digest is this project's over configuration and weights, under a name of its own, because
it is not that of any one file. The configuration names the record's sha256, which covers all evidence. The statement is
not signed: sign it with the tool of your release (cosign, a build platform's attestations).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pytest_diffprivacy.visible import visible

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Claim, Run

ORDER: Final = 5
EXTENSION: Final = ".intoto.json"
HELP: Final = (
    "release signing: in-toto Statement v1, test-result; PASSED only if every claim about the model held, "
    "expected failures included"
)
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://in-toto.io/attestation/test-result/v0.1"
UNPROVEN: Final = ("FAIL", "ERROR", "INCONCLUSIVE")
DIGEST_NAME: Final = "diffprivacyWeightsSha256"


def render(run: Run) -> str:
    """The statement; it speaks of the model, not of the suite: a refuted claim is failed even if its test expects that.

    PASSED: the run's verdict is PASS and no claim is refuted; everything else is FAILED. WARNED is never used: a warned
    test is one that passed, and an undecided claim did not.
    """
    from pytest_diffprivacy.evidence.seals import record_digest

    failed = [_name(claim) for verdict in UNPROVEN for claim in run.claims if claim.verdict == verdict]
    failed += [visible(f"no record: {text}") for text in run.missing]
    result = "PASSED" if run.verdict == "PASS" and not failed else "FAILED"
    digest = record_digest(run)
    models = {claim.model.digest: claim.model.name for claim in run.claims if claim.model}
    subjects = [{"name": visible(name), "digest": {DIGEST_NAME: visible(d)}} for d, name in models.items()]
    record = {"name": "pytest-diffprivacy record", "digest": {"sha256": digest}, "mediaType": "application/json"}
    statement = {
        "_type": STATEMENT,
        "subject": subjects or [{"name": "pytest-diffprivacy record", "digest": {"sha256": digest}}],
        "predicateType": PREDICATE,
        "predicate": {
            "result": result,
            "configuration": [record],
            "passedTests": [_name(claim) for claim in run.claims if claim.verdict == "PASS"],
            "warnedTests": [],
            "failedTests": failed,
        },
    }
    return json.dumps(statement, ensure_ascii=True, indent=1) + "\n"


def _name(claim: Claim) -> str:
    return visible(f"{claim.node_id or 'no test'}: {claim.sentence}")
