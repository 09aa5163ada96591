"""SARIF, in-toto and the JSON Schema: documents that other programs accept."""

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report.formats.intoto import render as render_intoto
from pytest_diffprivacy.report.formats.json import render as render_json
from pytest_diffprivacy.report.formats.sarif import render as render_sarif
from pytest_diffprivacy.statistics import Verdict

IN_TOTO = json.loads((Path(__file__).parent / "schemas" / "in_toto_test_result.json").read_text())


def changed(run: Run, verdicts: dict[int, Verdict], verdict: str) -> Run:
    claims = tuple(
        claim.model_copy(update={"verdict": verdicts.get(index, Verdict.PASS)})
        for index, claim in enumerate(run.claims)
    )
    return run.model_copy(update={"claims": claims, "verdict": verdict})


def test_sarif_is_what_its_schema_asks_for(run):
    Sarif.model_validate_json(render_sarif(run))


def test_sarif_holds_only_what_is_refuted_or_undecided(run):
    document = json.loads(render_sarif(run))
    results = document["runs"][0]["results"]
    assert [(result["level"], result["ruleId"]) for result in results] == [
        ("error", "diffprivacy/membership"),
        ("warning", "diffprivacy/extraction"),
    ]
    rules = document["runs"][0]["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in results] == [result["ruleId"] for result in results]
    location = results[0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "audits/test_release.py"
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "audits/test_release.py::test_members_hidden"


def test_a_failure_that_its_test_expects_is_suppressed_and_an_unexpected_one_is_not(run):
    results = json.loads(render_sarif(run))["runs"][0]["results"]
    assert [bool(result.get("suppressions")) for result in results] == [True, False]
    surprised = run.model_copy(update={"tests": ()})
    results = json.loads(render_sarif(surprised))["runs"][0]["results"]
    assert not any(result.get("suppressions") for result in results)


def test_sarif_says_that_something_was_not_judged(run):
    incomplete = run.model_copy(update={"verdict": "INCOMPLETE", "missing": ("a.py::test_b: deselected",)})
    (invocation,) = json.loads(render_sarif(incomplete))["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    texts = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert texts[0].startswith("Not judged: The excess sharpness")
    assert texts[1] == "No record of this audit test: a.py::test_b: deselected"


def test_a_claim_keeps_its_fingerprint_when_its_limit_changes(run):
    def fingerprints(run: Run) -> list[str]:
        results = json.loads(render_sarif(run))["runs"][0]["results"]
        return [result["partialFingerprints"]["diffprivacyClaim/v1"] for result in results]

    claims = tuple(claim.model_copy(update={"limit": claim.limit / 2}) for claim in run.claims)
    assert fingerprints(run.model_copy(update={"claims": claims})) == fingerprints(run)
    assert len(set(fingerprints(run))) == 2


def test_the_statement_is_what_the_specification_asks_for(run):
    jsonschema.validate(json.loads(render_intoto(run)), IN_TOTO)
    jsonschema.validate(json.loads(render_intoto(run.model_copy(update={"claims": ()}))), IN_TOTO)


def test_the_statement_names_the_model_and_the_record(run):
    statement = json.loads(render_intoto(run))
    (subject,) = statement["subject"]
    assert subject == {
        "name": "checkpoints/release-3",
        "digest": {"diffprivacyWeightsSha256": run.claims[0].model.digest},
    }
    assert statement["predicate"]["configuration"][0]["digest"] == {"sha256": record_digest(run)}


@pytest.mark.parametrize(
    ("verdicts", "verdict", "result"),
    [
        ({}, "PASS", "PASSED"),
        ({1: Verdict.FAIL}, "PASS", "FAILED"),  # refuted, as its test expects: the model leaks all the same
        ({1: Verdict.INCONCLUSIVE}, "INCONCLUSIVE", "FAILED"),
        ({1: Verdict.ERROR}, "ERROR", "FAILED"),
        ({}, "INCOMPLETE", "FAILED"),
    ],
)
def test_only_a_run_in_which_every_claim_held_has_passed(run, verdicts, verdict, result):
    predicate = json.loads(render_intoto(changed(run, verdicts, verdict)))["predicate"]
    assert predicate["result"] == result
    assert len(predicate["failedTests"]) == len(verdicts)
    assert len(predicate["passedTests"]) == 4 - len(verdicts)
    assert predicate["warnedTests"] == []


def test_the_record_fits_its_schema(run):
    schema = Run.model_json_schema(mode="serialization")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(render_json(run)), schema, cls=jsonschema.Draft202012Validator)
    broken = json.loads(render_json(run))
    del broken["claims"][0]["limit"]
    with pytest.raises(jsonschema.ValidationError, match="'limit' is a required property"):
        jsonschema.validate(broken, schema, cls=jsonschema.Draft202012Validator)
