"""Which runs are PASS? Only those in which every audit that is there judged a claim and each held."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import SCORES, Project

HOLDS = """
    def test_holds():
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
"""
SECOND = HOLDS.replace("test_holds", "test_second")
REFUTED = """
    def test_leaks():
        assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)
"""
ALL_OF_ONE = "run           PASS: all 1 claims hold"


def missing(project: Project, *arguments: str) -> dict[str, str]:
    """What a run lacks, by its place; such a run is INCOMPLETE, and red where a report is asked for."""
    seen = project.run(*arguments, "--diffprivacy-report=audit.json")
    assert project.record().verdict == "INCOMPLETE"
    assert seen.exit_code == 1
    return {text.partition(": ")[0]: text.partition(": ")[2].split(",")[0] for text in project.record().missing}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("@pytest.mark.skip(reason='later')\ndef test_it():\n    assert_mia_tpr_below(*LEAKING)", "skipped"),
        ("def test_it():\n    if not HIDDEN:\n        assert_mia_tpr_below(*LEAKING)", "passed"),
        ("def test_it():\n    raise OSError\n    assert_mia_tpr_below(*LEAKING)", "failed"),
        (
            "def test_it():\n    with pytest.raises(Exception):\n        assert_mia_tpr_below(*HIDDEN, max_fpr=7)",
            "assert_mia_tpr_below raised TypeError before it judged",
        ),
        ("def helper():\n    pytest.skip('x')\n    assert_mia_tpr_below()\ndef test_it(): helper()", "skipped"),
        ("@pytest.fixture\ndef judged():\n    return assert_mia_tpr_below\ndef test_it(judged): pass", "passed"),
        ("class TestIt:\n    def check(self): assert_mia_tpr_below()\n    def test_it(self): self.chek()", "failed"),
        ("@pytest.mark.diffprivacy\ndef test_it(): pass", "passed"),
        ("def test_it(diffprivacy): pass", "passed"),
        ("import pytest_diffprivacy as dp\ndef test_it():\n    return\n    dp.assert_no_extraction()", "passed"),
    ],
)
def test_an_audit_that_judges_nothing_is_missed(project: Project, body: str, why: str) -> None:
    project.write("test_it.py", SCORES, HOLDS, body)
    assert list(missing(project).values()) == [why]


def test_a_claim_whose_assertion_raised_is_missed_beside_one_that_held(project: Project) -> None:
    body = "    try: assert_mia_tpr_below(*HIDDEN, max_fpr=7, limit=0.1)\n        except ValueError: pass\n"
    project.write("test_it.py", SCORES, HOLDS + "    " + body)
    assert missing(project) == {"test_it.py::test_holds": "assert_mia_tpr_below raised UsageError before it judged"}


@pytest.mark.parametrize("end", ["pytest.skip('enough')", "pytest.xfail('enough')"])
def test_a_test_that_ends_in_the_middle_is_no_pass(project: Project, end: str) -> None:
    project.write("test_it.py", SCORES, HOLDS + f"        {end}\n")
    assert project.run("--diffprivacy-report=a.json").exit_code == 1
    assert project.record().verdict in ("INCOMPLETE", "ERROR")


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        (("-k", "holds"), {"test_b.py::test_second": "deselected"}),
        (("--deselect=test_b.py::test_second",), {"test_b.py::test_second": "deselected"}),
        (("test_a.py",), {"test_b.py": "not collected"}),
        (("--ignore=test_b.py",), {"test_b.py": "not collected"}),
        (("test_a.py::test_holds", "test_b.py::TestMore"), {"test_b.py::test_second": "not selected"}),
        (("test_a.py", "test_b.py::test_second"), {"test_b.py::TestMore::test_third": "not selected"}),
    ],
)
def test_what_was_left_out_is_named(project: Project, arguments: tuple[str, ...], left_out: dict[str, str]) -> None:
    third = "class TestMore:\n    def test_third(self):\n        assert_mia_tpr_below(*HIDDEN, max_fpr=0.1, limit=0.3)"
    project.write("test_a.py", SCORES, HOLDS)
    project.write("test_b.py", SCORES, SECOND, third)
    assert missing(project, *arguments).items() >= left_out.items()
    assert project.run("--diffprivacy-report=audit.json").line("run ") == "run           PASS: all 3 claims hold"


def test_a_module_that_is_skipped_as_a_whole_is_missed_by_its_imports(project: Project) -> None:
    project.write("shared.py", SCORES, "def holds(): assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)")
    project.write("test_a.py", SCORES, HOLDS)
    project.write("test_gpu.py", "import pytest\npytest.importorskip('no_such')\nfrom shared import *")
    project.write("test_unit.py", "import pytest\npytest.importorskip('no_such')\ndef test_sum(): ...")
    assert missing(project) == {"test_gpu.py": "not collected"}


def test_tests_that_cannot_judge_are_no_audits(project: Project) -> None:
    project.write(
        "test_a.py",
        SCORES,
        HOLDS,
        """
        @pytest.fixture
        def diffusion_model(): return object()

        @pytest.mark.parametrize("number", range(60))
        def test_shape(diffusion_model, number): ...

        @pytest.mark.skip
        def test_later(): ...

        @pytest.mark.diffprivacy(audit=False)
        def test_of_the_helper():
            return
            assert_mia_tpr_below()
        """,
    )
    seen = project.run("--diffprivacy-report=a.json")
    assert seen.line("run ") == ALL_OF_ONE
    assert project.record().family.size == 1
    assert seen.exit_code == 0


@pytest.mark.parametrize(
    "swallow",
    [
        "@pytest.mark.xfail\n{0}",
        "@pytest.mark.xfail(strict=True, raises=PrivacyViolation)\n{0}",
        "def test_it():\n    with pytest.raises(PrivacyViolation):\n{1}",
        "def test_it():\n    try:\n{1}\n    except Exception: pass",
    ],
)
def test_a_violation_that_a_test_swallows_stays_one(project: Project, swallow: str) -> None:
    judged = "        assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)"
    project.write("test_a.py", SCORES, HOLDS, swallow.format(f"def test_it():\n{judged}", judged))
    seen = project.run()
    assert seen.line("run ") == "run           FAIL: 1 of 2 claims are refuted"
    assert seen.exit_code == 1


@pytest.mark.parametrize(
    ("option", "environment", "exit_code"),
    [("auto", "", 0), ("auto", "true", 1), ("fail", "", 1), ("warn", "true", 0)],
)
def test_whether_an_incomplete_run_is_red(
    project: Project, monkeypatch: pytest.MonkeyPatch, option: str, environment: str, exit_code: int
) -> None:
    monkeypatch.setenv("CI", environment)
    project.write("test_a.py", SCORES, HOLDS, SECOND)
    assert project.run("-k", "second", f"--diffprivacy-incomplete={option}").exit_code == exit_code
    assert project.record().verdict == "INCOMPLETE"


DEMONSTRATION = '@pytest.mark.diffprivacy(demonstration="trained to memorize")'


def test_a_demonstration_is_shown_apart_and_makes_no_pass(project: Project) -> None:
    project.write("test_a.py", SCORES, DEMONSTRATION, REFUTED)
    seen = project.run("--junitxml=junit.xml")
    assert seen.last == "1 demonstrated"
    assert seen.line("run ") == "run           INCOMPLETE: no claim was judged; 1 more refuted as demonstrations"
    assert seen.line("FAIL ").endswith("(a demonstration)")
    assert 'failures="0"' in (project.path / "junit.xml").read_text()
    project.write("test_b.py", SCORES, HOLDS)
    seen = project.run("--diffprivacy-report=audit.json")
    assert (seen.exit_code, seen.last) == (0, "1 passed, 1 demonstrated")
    assert seen.line("run ") == f"{ALL_OF_ONE}; 1 more refuted as demonstrations"
    assert [test.demonstration for test in project.record().tests] == ["trained to memorize", ""]


def test_a_demonstration_whose_claim_holds_has_failed(project: Project) -> None:
    project.write("test_a.py", SCORES, f"pytestmark = {DEMONSTRATION[1:]}", REFUTED, HOLDS)
    seen = project.run()
    assert (seen.exit_code, seen.last) == (1, "1 failed, 1 demonstrated")
    assert "The demonstration failed. TPR at FPR <= 0.05 is at most 0.2: it holds." in seen.text
    assert project.record().verdict == "ERROR"


@pytest.mark.parametrize("fault", ["-nmany", "--diffprivacy-sed=3", "--diffprivacy-seed=x", "--diffprivacy-plan"])
@pytest.mark.parametrize("place", ["flag", "ini", "environment"])
def test_a_run_that_does_not_begin_leaves_no_report(
    project: Project, monkeypatch: pytest.MonkeyPatch, fault: str, place: str
) -> None:
    if place == "flag":
        arguments = ["--diffprivacy-report=audit.json"]
    elif place == "ini":
        arguments, _ = [], project.ini(diffprivacy_report="audit.json")
    else:
        arguments, _ = [], monkeypatch.setenv("PYTEST_DIFFPRIVACY_REPORT", "audit.json")
    if fault == "-nmany" and place != "flag":
        pytest.skip("pytest refuses the line before it reads anything else")
    project.write("test_a.py", SCORES, HOLDS)
    project.write("audit.json", "PASS")
    project.run_alone(*arguments, fault)
    assert not (project.path / "audit.json").exists()


def test_a_broken_conftest_leaves_no_report_and_no_verdict_in_a_card(project: Project) -> None:
    project.write("test_a.py", SCORES, HOLDS)
    project.write("README.md", "# Model")
    arguments = ("--diffprivacy-report=audit.json", "--diffprivacy-card=README.md")
    assert project.run(*arguments).exit_code == 0
    assert "PASS: all" in (project.path / "README.md").read_text()
    project.write("conftest.py", "import no_such_module")
    assert project.run(*arguments).exit_code == 4
    assert not (project.path / "audit.json").exists()
    assert "INCOMPLETE: an audit began" in (project.path / "README.md").read_text()


def test_a_file_that_is_no_report_is_left_alone(project: Project) -> None:
    project.write("model.safetensors", "weights")
    assert project.run("--diffprivacy-report=model.safetensors").exit_code == 4
    assert (project.path / "model.safetensors").read_text() == "weights"
