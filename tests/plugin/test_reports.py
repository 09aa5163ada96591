"""Where does a run leave its report, and what does the run as a whole conclude?"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.statistics import Verdict
from tests.plugin.conftest import SCORES, Project
from tests.report.hostile import HOSTILE

STRICT_JUNIT = Path(__file__).parents[1] / "report" / "schemas" / "xunit2.xsd"
HOLDS = """
    def test_holds():
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
"""
STRICT = "@pytest.mark.xfail(strict=True, raises=PrivacyViolation)"
AUDIT_THAT_ASKS_FOR_A_FIXTURE = """
    @pytest.fixture
    def probe_set():
        return HIDDEN

    def test_first(probe_set):
        assert_mia_tpr_below(*probe_set, max_fpr=0.05, limit=0.2)

    def test_second(probe_set):
        assert_mia_tpr_below(*probe_set, max_fpr=0.05, limit=0.2)
"""


def test_reports_are_written_in_the_format_of_their_extension_and_the_last_lines_say_where(project: Project) -> None:
    project.write("test_release.py", SCORES, HOLDS)
    seen = project.run("--diffprivacy-report", "a.html", "--diffprivacy-report", "deep/b.json")
    assert seen.exit_code == 0
    assert seen.lines[-4:-2] == [f"report        {project.path / name}" for name in ("a.html", "deep/b.json")]
    page = (project.path / "a.html").read_text()
    assert page.startswith("<!")
    assert "TPR at FPR" in page
    written = Run.model_validate(json.loads((project.path / "deep/b.json").read_text()))
    assert written == project.record()
    assert [claim.verdict for claim in written.claims] == [Verdict.PASS]


def test_the_record_carries_the_catalogue_and_the_page_says_what_did_not_run(
    project: Project,
) -> None:
    project.write("test_release.py", SCORES, "def test_a(): assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.5)")
    project.run("--diffprivacy-report=a.html")
    known = {(row.kind, row.name): row for row in project.record().catalogue}
    assert {("membership", "secmi"), ("memorization", "hessian_score"), ("extraction", "reconstruction")} <= set(known)
    assert known["membership", "lira"].needs == ("shadow models",)
    page = (project.path / "a.html").read_text()
    assert known["attribute inference", "attribute-inference"].missing in page
    assert "no claim of this run called a model" in page


def test_a_report_with_an_unknown_extension_is_refused_before_anything_is_collected(project: Project) -> None:
    project.write("test_release.py", "raise RuntimeError('collected')")
    seen = project.run("--diffprivacy-report=audit.docx")
    assert seen.exit_code == 4
    assert "ERROR: --diffprivacy-report must be a path that ends in .html, .json, .sarif, " in seen.errors
    assert ".intoto.json or .pdf, got 'audit.docx'." in " ".join(seen.errors.split())
    assert "collected" not in seen.text + seen.errors
    assert not (project.path / ".diffprivacy").exists()


def test_a_model_card_and_a_step_summary_are_brought_up_to_date(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("test_release.py", SCORES, HOLDS)
    card, summary = project.write("README.md", "# Model"), project.write("summary.md", "before")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for _ in range(2):
        seen = project.run("--diffprivacy-card", "README.md")
    assert seen.lines[-3] == f"card          {card}"
    metadata, _, text = card.read_text().partition("\n---\n")
    assert metadata.startswith("---\nmodel-index:\n- name: model\n")
    assert text.startswith("# Model\n\n<!-- diffprivacy: begin -->\n")
    assert card.read_text().count("diffprivacy: begin") == 1
    assert summary.read_text().startswith("before## Training data audit: PASS")
    assert summary.read_text().count("## Training data audit: PASS") == 2


def test_a_suite_without_audits_leaves_the_step_summary_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    project.write("test_sum.py", "def test_sum():\n    assert 1 + 1 == 2")
    project.run("--diffprivacy-card", "README.md")
    assert not (project.path / "summary.md").exists()
    assert not (project.path / "README.md").exists()


def test_junit_keeps_the_verdicts_as_properties_of_the_suite_and_stays_strict(project: Project) -> None:
    hostile = """
        def test_hostile_names():
            def attack(model, images):
                raise RuntimeError(TEXT)
            assert_mia_tpr_below(object(), object(), attack=attack, max_fpr=0.05, limit=0.2)
    """
    project.write("test_release.py", SCORES, HOLDS, f"TEXT = {HOSTILE!r}", hostile)
    for family in ("xunit2", "xunit1"):
        assert project.run("--junitxml=junit.xml", "-o", f"junit_family={family}").exit_code == 1
        tree = ElementTree.parse(project.path / "junit.xml")
        (properties,) = tree.findall("testsuite/properties")
        found = {item.attrib["name"]: item.attrib["value"] for item in properties}
        run = project.record()
        (claim,) = run.claims
        assert found["diffprivacy.verdict"] == run.verdict
        assert found["diffprivacy.record_sha256"] == record_digest(run)
        assert found[f"diffprivacy.claim.{claim.id}"].startswith("PASS: TPR at FPR <= 0.05 is at most 0.2; observed ")
        assert found[f"diffprivacy.claim.{claim.id}.test"] == claim.node_id
        if family == "xunit2":
            xmlschema.validate(str(project.path / "junit.xml"), str(STRICT_JUNIT))


@pytest.mark.parametrize("more", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["alone", "workers"])
def test_junit_says_error_where_nothing_was_judged_and_failure_where_a_claim_did_not_hold(
    project: Project, more: tuple[str, ...]
) -> None:
    project.write(
        "test_release.py",
        SCORES,
        """
        def test_error(): assert_mia_tpr_below(np.full(400, np.nan), HIDDEN[1], max_fpr=0.05, limit=0.2)
        def test_fail(): assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)
        def test_inconclusive(): assert_mia_tpr_below(*scores(0.0, 60, 60), max_fpr=0.05, limit=0.1)
        """,
    )
    project.run("--junitxml=junit.xml", *more)
    suite = ElementTree.parse(project.path / "junit.xml").find("testsuite")
    assert suite is not None
    assert (suite.attrib["errors"], suite.attrib["failures"]) == ("1", "2")
    found = {case.attrib["name"]: [element.tag for element in case] for case in suite.iter("testcase")}
    assert found == {"test_error": ["error"], "test_fail": ["failure"], "test_inconclusive": ["failure"]}
    xmlschema.validate(str(project.path / "junit.xml"), str(STRICT_JUNIT))


def test_sarif_names_the_line_of_the_claim_in_a_file_below_the_repository(project: Project) -> None:
    (project.path / ".git").mkdir()
    (project.path / "pytest.ini").rename(project.path / "conftest.txt")
    project.write("service/pytest.ini", "[pytest]")
    project.write(
        "service/audits/helping.py", SCORES, "def leaks(): assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)"
    )
    test = project.write(
        "service/audits/test_release.py", "from helping import leaks\n\ndef test_a():\n    leaks()  # here\n"
    )
    project.run("service/audits", "--diffprivacy-report", "a.sarif")
    (result,) = json.loads((project.path / "a.sarif").read_text())["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert project.path / place["artifactLocation"]["uri"] == test
    assert test.read_text().splitlines()[place["region"]["startLine"] - 1] == "    leaks()  # here"


def test_a_report_that_cannot_be_written_turns_the_run_red(project: Project) -> None:
    project.write("test_release.py", SCORES, HOLDS)
    project.write("file", "")
    seen = project.run("--diffprivacy-report=file/audit.html")
    assert seen.exit_code == 3
    assert "ERROR         the report was not written: Cannot write" in seen.text


def test_a_strict_xfail_that_passes_is_a_failure_and_the_run_is_no_pass(project: Project) -> None:
    project.write("test_leaky.py", SCORES, STRICT, HOLDS)
    seen = project.run()
    assert seen.exit_code == 1
    assert seen.last == "1 failed"
    assert "[XPASS(strict)]" in seen.text
    assert project.claim().verdict is Verdict.PASS
    assert project.record().verdict == "ERROR"


def test_a_test_that_fails_after_its_claim_held_leaves_no_pass(project: Project) -> None:
    project.write("test_release.py", SCORES, HOLDS + "        assert 1 == 2\n")
    assert project.run().exit_code == 1
    assert project.record().verdict == "ERROR"


def test_a_deselected_audit_makes_the_run_incomplete_and_is_named(project: Project) -> None:
    project.write("test_release.py", SCORES, AUDIT_THAT_ASKS_FOR_A_FIXTURE)
    seen = project.run("-k", "second")
    assert seen.exit_code == 0
    assert seen.line("MISSING ").endswith("test_release.py::test_first: deselected, no claim was judged")
    assert seen.line("run ") == "run           INCOMPLETE: 1 audit tests left no record"
    assert project.record().missing == ("test_release.py::test_first: deselected, no claim was judged",)


def test_a_skipped_audit_makes_the_run_incomplete(project: Project) -> None:
    project.write("test_release.py", SCORES, AUDIT_THAT_ASKS_FOR_A_FIXTURE, "test_first = pytest.mark.skip(test_first)")
    seen = project.run()
    assert seen.exit_code == 0
    assert project.record().verdict == "INCOMPLETE"
    assert seen.line("MISSING ").endswith("test_release.py::test_first: skipped, no claim was judged")


def test_a_marked_audit_that_did_not_run_is_missed_although_it_uses_no_fixture(project: Project) -> None:
    project.write("test_release.py", SCORES, "@pytest.mark.diffprivacy\n@pytest.mark.skip", HOLDS)
    project.run("--strict-markers")
    assert project.record().missing == ("test_release.py::test_holds: skipped, no claim was judged",)


def test_audits_that_were_never_reached_are_missed(project: Project) -> None:
    project.write("test_release.py", SCORES, "def test_early():\n    assert 1 == 2", AUDIT_THAT_ASKS_FOR_A_FIXTURE)
    assert project.run("-x").exit_code == 1
    assert project.record().verdict == "INCOMPLETE"
    assert len(project.record().missing) == 2


def test_a_file_that_cannot_be_collected_makes_the_run_incomplete(project: Project) -> None:
    project.write("test_broken.py", "import no_such_module")
    project.write("test_release.py", SCORES, AUDIT_THAT_ASKS_FOR_A_FIXTURE)
    assert project.run("--continue-on-collection-errors").exit_code == 1
    run = project.record()
    assert (run.verdict, run.missing) == ("INCOMPLETE", ("test_broken.py: not collected, no claim was judged",))


@pytest.mark.slow
def test_a_worker_that_dies_leaves_neither_green_nor_pass(project: Project) -> None:
    project.write(
        "test_release.py",
        SCORES,
        AUDIT_THAT_ASKS_FOR_A_FIXTURE,
        """
        import os, signal

        def test_dies(probe_set):
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    seen = project.run("-n", "2", "-k", "not second")
    assert seen.exit_code == 1
    assert seen.last == "1 failed, 1 passed"
    run = project.record()
    assert run.verdict == "INCOMPLETE"
    assert run.missing == (
        "test_release.py::test_dies: the worker that ran it was lost",
        "test_release.py::test_second: deselected, no claim was judged",
    )


@pytest.mark.slow
def test_groups_of_xdist_rename_tests_and_none_is_taken_for_deselected(project: Project) -> None:
    project.write(
        "test_release.py", SCORES, "pytestmark = pytest.mark.xdist_group('gpu')", AUDIT_THAT_ASKS_FOR_A_FIXTURE
    )
    seen = project.run("-n", "1", "--dist", "loadgroup")
    assert seen.last == "2 passed"
    assert seen.line("run ") == "run           PASS: all 2 claims hold"
