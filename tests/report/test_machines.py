"""SARIF, in-toto and the JSON Schema: documents that other programs accept."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf.json_format import Parse
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult as ResultMessage
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report.formats.intoto import render as render_intoto
from pytest_diffprivacy.report.formats.json import render as render_json
from pytest_diffprivacy.report.formats.sarif import RULES
from pytest_diffprivacy.report.formats.sarif import render as render_sarif
from pytest_diffprivacy.statistics import Verdict
from tests.report.finished import MODEL

IN_TOTO = json.loads((Path(__file__).parent / "schemas" / "in_toto_test_result.json").read_text())


def changed(run: Run, verdicts: dict[int, Verdict], verdict: str) -> Run:
    """The run with other verdicts; a refuted claim is that of a demonstration, and nothing else is wanting."""
    claims = tuple(
        claim.model_copy(update={"verdict": verdicts.get(index, Verdict.PASS), "comparison": None})
        for index, claim in enumerate(run.claims)
    )
    tests = tuple(
        test.model_copy(update={"outcome": "passed", "expected_failure": claim.verdict is Verdict.FAIL})
        for test, claim in zip(run.tests, claims, strict=True)
    )
    return run.model_copy(update={"claims": claims, "tests": tests, "policy": None, "verdict": verdict})


def with_second_model(run: Run) -> Run:
    """The same claims, the last two of them about another model of the same name."""
    other = run.claims[0].model.model_copy(update={"digest": "0" * 64})
    claims = [*run.claims[:2], *(claim.model_copy(update={"model": other}) for claim in run.claims[2:])]
    return run.model_copy(update={"claims": tuple(claims)})


def sarif(run: Run) -> list[dict[str, Any]]:
    document = render_sarif(run)
    Sarif.model_validate_json(document)
    runs = json.loads(document)["runs"]
    assert list(github_refuses(runs)) == []
    return runs


def github_refuses(runs: list[dict[str, Any]]) -> Iterator[str]:
    """What GitHub's page "SARIF support for code scanning" demands beyond the schema."""
    categories = [part.get("automationDetails", {}).get("id", "").rpartition("/")[0] for part in runs]
    if len(runs) > 20 or len(set(categories)) < len(runs):
        yield "more than 20 runs, or two of one category"
    for part in runs:
        rules, results = part["tool"]["driver"]["rules"], part["results"]
        for rule in rules:
            texts = [rule.get(name, {}).get("text", "") for name in ("shortDescription", "fullDescription", "help")]
            if not all(texts) or len(texts[0]) > 1024 or len(texts[1]) > 1024 or len(rule["name"]) > 255:
                yield f"rule {rule['id']} is not described"
            severity = float(rule["properties"]["security-severity"])
            if "security" not in rule["properties"]["tags"] or not 0.0 < severity <= 10.0:
                yield f"rule {rule['id']} has no security severity"
        for result in results:
            place = result["locations"][0]["physicalLocation"]
            uri = place["artifactLocation"]["uri"]
            if not result["message"]["text"] or place["region"]["startLine"] < 1:
                yield f"{uri} has no text or no line"
            if uri.startswith(("/", "..")) or ":" in uri or "\\" in uri:
                yield f"{uri} is not below the repository's root"
            if not re.fullmatch(r"[0-9a-f]{16}:[0-9]+", result["partialFingerprints"]["primaryLocationLineHash"]):
                yield f"{uri} has no fingerprint"
            if "suppressions" in result:
                yield f"{uri} is an open alert: suppressions are not read"


def test_sarif_holds_only_what_is_refuted_or_undecided(run):
    (part,) = sarif(changed(run, {1: Verdict.FAIL, 2: Verdict.INCONCLUSIVE}, "FAIL").model_copy(update={"tests": ()}))
    results = part["results"]
    assert [(result["level"], result["ruleId"]) for result in results] == [
        ("error", "diffprivacy/membership"),
        ("warning", "diffprivacy/extraction"),
    ]
    rules = part["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in results] == [result["ruleId"] for result in results]
    location = results[0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "audits/test_release.py"
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "audits/test_release.py::test_members_hidden"


def test_results_name_the_technique_of_mitre_atlas_where_there_is_one(run):
    (part,) = sarif(changed(run, {0: Verdict.INCONCLUSIVE, 1: Verdict.INCONCLUSIVE, 3: Verdict.INCONCLUSIVE}, "FAIL"))
    known = {taxon["id"] for taxon in part["taxonomies"][0]["taxa"]}
    named = {claim["ruleId"]: [taxon["id"] for taxon in claim.get("taxa", [])] for claim in part["results"]}
    assert named["diffprivacy/extraction"] == ["AML.T0024.001"]
    assert named["diffprivacy/membership"] == ["AML.T0024.000"]
    assert named["diffprivacy/sharpness"] == []
    assert known == {"AML.T0024.000", "AML.T0024.001"}
    assert part["tool"]["driver"]["supportedTaxonomies"] == [{"name": "MITRE ATLAS"}]


@pytest.mark.parametrize("kind", ["a new kind", *RULES])
def test_every_rule_is_described_as_github_asks_for(run, kind):
    claims = tuple(claim.model_copy(update={"kind": kind}) for claim in run.claims)
    (part,) = sarif(run.model_copy(update={"claims": claims}))
    assert [rule["name"] for rule in part["tool"]["driver"]["rules"]] == [kind]


def test_a_place_is_below_the_repository_with_the_line_of_the_claim(run):
    claims = tuple(claim.model_copy(update={"line": 12}) for claim in run.claims)
    (part,) = sarif(run.model_copy(update={"root": "services/images", "claims": claims, "tests": ()}))
    for result in part["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "services/images/audits/test_release.py"
        assert place["region"]["startLine"] == 12


def test_a_demonstration_is_a_note_and_no_alert_and_an_unexpected_failure_is_one(run):
    (part,) = sarif(run)
    assert [result["level"] for result in part["results"]] == ["warning"]
    notes = part["invocations"][0]["toolExecutionNotifications"]
    assert [note["level"] for note in notes] == ["note", "error"]
    assert notes[0]["message"]["text"].startswith("Refuted, as a demonstration: The TPR of SecMI")
    (part,) = sarif(run.model_copy(update={"tests": ()}))
    assert [result["level"] for result in part["results"]] == ["error", "warning"]


def test_one_model_leaves_its_category_to_the_uploader_and_several_have_one_each(run):
    (alone,) = sarif(run)
    assert "automationDetails" not in alone
    parts = sarif(with_second_model(run))
    ids = [part["automationDetails"]["id"] for part in parts]
    assert ids == [f"diffprivacy/checkpoints/release-3/{d}/{run.run_id}" for d in (MODEL.digest[:12], "0" * 12)]
    assert [len(part["results"]) for part in parts] == [0, 1]


def test_sarif_says_that_something_was_not_judged(run):
    incomplete = run.model_copy(update={"verdict": "INCOMPLETE", "missing": ("a.py::test_b: deselected",)})
    (invocation,) = sarif(incomplete)[0]["invocations"]
    assert invocation["executionSuccessful"] is False
    texts = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert texts[1].startswith("Not judged: The excess sharpness")
    assert texts[2] == "No record of this audit test: a.py::test_b: deselected"


def test_a_claim_keeps_its_fingerprint_when_its_limit_or_line_changes(run):
    def fingerprints(run: Run) -> list[str]:
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in sarif(run)[0]["results"]]

    run = run.model_copy(update={"tests": ()})
    claims = tuple(claim.model_copy(update={"limit": claim.limit / 2, "line": 7}) for claim in run.claims)
    assert fingerprints(run.model_copy(update={"claims": claims})) == fingerprints(run)
    assert len(set(fingerprints(run))) == 2
    twice = run.model_copy(update={"claims": run.claims + run.claims})
    assert len(set(fingerprints(twice))) == 4


def statements(run: Run) -> list[dict[str, Any]]:
    """The statements, each as in-toto's own library reads it."""
    found = []
    for line in render_intoto(run).splitlines():
        Statement.copy_from_pb(Parse(line, StatementMessage())).validate()
        statement = json.loads(line)
        Parse(json.dumps(statement["predicate"]), ResultMessage())
        jsonschema.validate(statement, IN_TOTO)
        found.append(statement)
    return found


def test_the_statement_names_the_model_and_the_record(run):
    (statement,) = statements(run)
    (subject,) = statement["subject"]
    assert subject == {
        "name": "checkpoints/release-3",
        "digest": {"diffprivacyWeightsSha256": run.claims[0].model.digest},
    }
    assert statement["predicate"]["configuration"][0]["digest"] == {"sha256": record_digest(run)}


def test_without_a_model_the_statement_is_about_the_record(run):
    for claims in ((), tuple(claim.model_copy(update={"model": None}) for claim in run.claims)):
        (statement,) = statements(run.model_copy(update={"claims": claims}))
        assert [subject["name"] for subject in statement["subject"]] == ["pytest-diffprivacy record"]
        assert statement["predicate"]["result"] == "FAILED"


@pytest.mark.parametrize(
    ("verdicts", "verdict", "result"),
    [
        ({}, "PASS", "PASSED"),
        ({1: Verdict.FAIL}, "PASS", "FAILED"),  # refuted, as a demonstration: the model leaks all the same
        ({1: Verdict.INCONCLUSIVE}, "INCONCLUSIVE", "FAILED"),
        ({1: Verdict.ERROR}, "ERROR", "FAILED"),
        ({}, "INCOMPLETE", "FAILED"),
        ({}, "UNVERIFIED", "FAILED"),
    ],
)
def test_only_a_run_in_which_every_claim_held_has_passed(run, verdicts, verdict, result):
    (statement,) = statements(changed(run, verdicts, verdict))
    predicate = statement["predicate"]
    assert predicate["result"] == result
    assert len(predicate["failedTests"]) == len(verdicts)
    assert len(predicate["passedTests"]) == 4 - len(verdicts)
    assert predicate["warnedTests"] == []


def test_a_demonstration_by_scores_made_elsewhere_fails_no_record_and_passes_none(run):
    shown = changed(run, {1: Verdict.FAIL}, "PASS")
    claims = tuple(claim.model_copy(update={"model": None}) for claim in shown.claims)
    for kept, result in ((claims, "PASSED"), (claims[1:2], "FAILED")):
        (statement,) = statements(shown.model_copy(update={"claims": kept}))
        assert statement["predicate"]["result"] == result
        assert statement["predicate"]["failedTests"] == []


@pytest.mark.parametrize(
    ("fields", "results"),
    [
        ({"verdict": "FAIL"}, ["PASSED", "FAILED"]),
        ({"verdict": "PASS"}, ["PASSED", "FAILED"]),
        ({"verdict": "INCOMPLETE", "missing": ("a.py::test_b: deselected",)}, ["FAILED", "FAILED"]),
        ({"verdict": "FAIL", "gone": ("a claim of the last release",)}, ["FAILED", "FAILED"]),
        ({"verdict": "UNVERIFIED"}, ["FAILED", "FAILED"]),
    ],
)
def test_each_model_has_a_statement_of_its_own(run, fields, results):
    both = with_second_model(changed(run, {3: Verdict.FAIL}, "FAIL")).model_copy(update=fields)
    found = statements(both)
    assert [statement["predicate"]["result"] for statement in found] == results
    digests = [statement["subject"][0]["digest"]["diffprivacyWeightsSha256"] for statement in found]
    assert digests == [MODEL.digest, "0" * 64]


def test_the_record_fits_its_schema(run):
    schema = Run.model_json_schema(mode="serialization")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(render_json(run)), schema, cls=jsonschema.Draft202012Validator)
    broken = json.loads(render_json(run))
    del broken["claims"][0]["limit"]
    with pytest.raises(jsonschema.ValidationError, match="'limit' is a required property"):
        jsonschema.validate(broken, schema, cls=jsonschema.Draft202012Validator)
