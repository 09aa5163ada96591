"""Which audits are there although no test of their name shows them? What a file defines, and what a test can get to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.plugin.conftest import SCORES, Project

HOLDS = "def test_holds():\n    assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)\n"
JUDGES = "assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)"
LEAKS = f"def test_leaks():\n    {JUDGES}\n"
IN_BLOCK = LEAKS.replace("\n", "\n    ")
SHARED = f"def leaks():\n    {JUDGES}\n"
SKIPPED = "@pytest.mark.skip\ndef test_it({}):\n    {}\n"
REPLACE = "def gpu(function):\n    def test_leaks(): {}\n    return test_leaks\n\n@gpu\n"
LEFT_OUT = "not collected, no claim was judged"


def missing(project: Project, *arguments: str | Path) -> dict[str, str]:
    """What a run lacks, by its place; it is INCOMPLETE and red."""
    seen = project.run("--diffprivacy-report=audit.json", *arguments)
    assert (project.record().verdict, seen.exit_code) == ("INCOMPLETE", 1)
    return {text.partition(": ")[0]: text.partition(": ")[2].split(",")[0] for text in project.record().missing}


@pytest.mark.parametrize(
    ("audit", "lacking"),
    [
        (f"{LEAKS}\ndef test_leaks(): pass", {"test_leaks (line 15)": "hidden by a later test of its name"}),
        (LEAKS + HOLDS.replace("holds", "leaks"), {"test_leaks (line 15)": "hidden by a later test of its name"}),
        (
            f"class TestIt:\n    def test_it(self): {JUDGES}\n    def test_it(self): pass",
            {"TestIt::test_it (line 16)": "hidden by a later test of its name"},
        ),
        (f"class TestIt:\n    def test_it(self): {JUDGES}\nclass TestIt: pass", {"TestIt::test_it": "not collected"}),
        (f"{LEAKS}del test_leaks", {"test_leaks": "not collected"}),
        (f"{LEAKS}test_leaks = None", {"test_leaks": "not collected"}),
        (f"if not HIDDEN:\n    {IN_BLOCK}", {"test_leaks": "not collected"}),
        (
            f"try:\n    import no_such\nexcept ImportError:\n    pass\nelse:\n    {IN_BLOCK}",
            {"test_leaks": "not collected"},
        ),
        (f"if not HIDDEN:\n    {IN_BLOCK}\nelse:\n    def test_leaks(): pass", {"test_leaks": "passed"}),
        (f"def gpu(function): return None\n@gpu\n{LEAKS}", {"test_leaks": "not collected"}),
        (REPLACE.format("pytest.skip('none here')") + LEAKS, {"test_leaks": "skipped"}),
        (REPLACE.format("HIDDEN or function()") + LEAKS, {"test_leaks": "passed"}),
    ],
)
def test_what_a_file_defines_is_missed_whatever_stands_under_its_name(
    project: Project, audit: str, lacking: dict[str, str]
) -> None:
    project.write("test_a.py", SCORES, HOLDS, audit)
    assert missing(project) == {f"test_a.py::{name}": why for name, why in lacking.items()}


def test_alternatives_and_what_is_no_audit_hide_nothing(project: Project) -> None:
    judged = HOLDS.replace("holds", "other").replace("\n", "\n    ")
    project.write(
        "test_a.py",
        SCORES,
        HOLDS,
        f"if HIDDEN:\n    {judged}\nelse:\n    {judged}",
        f"try:\n    {judged.replace('other', 'third')}\nexcept ImportError:\n    {judged.replace('other', 'third')}",
        "if not HIDDEN:\n    def test_plain(): pass\ndef test_twice(): pass\ndef test_twice(): pass",
        f"if not HIDDEN:\n    @pytest.mark.diffprivacy(audit=False)\n    {IN_BLOCK}",
    )
    assert project.run("--diffprivacy-report=audit.json").line("run ") == "run           PASS: all 3 claims hold"


@pytest.mark.parametrize(
    ("files", "body"),
    [
        (("shared.py",), "from shared import leaks; leaks()"),
        (("shared.py",), "import shared as other; other.leaks()"),
        (("shared.py",), "import importlib; importlib.import_module('shared').leaks()"),
        (("shared.py",), "pytest.importorskip('shared').leaks()"),
        (("parts/__init__.py", "parts/shared.py"), "from parts.shared import leaks; leaks()"),
        (("parts/__init__.py", "parts/shared.py"), "parts.shared.leaks()"),
    ],
)
def test_what_a_skipped_test_would_import_is_followed(project: Project, files: tuple[str, ...], body: str) -> None:
    for name in files:
        project.write(name, *([SCORES, SHARED] if "shared" in name else [""]))
    project.write("test_a.py", SCORES, HOLDS, "import parts.shared" if body.startswith("parts") else "")
    project.write("test_b.py", "import pytest", "import parts.shared" if body.startswith("parts") else "")
    with (project.path / "test_b.py").open("a") as file:
        file.write("\n" + SKIPPED.format("", body))
    assert missing(project) == {"test_b.py::test_it": "skipped"}


def test_a_fixture_that_is_asked_for_by_its_name_is_followed(project: Project) -> None:
    project.write("conftest.py", SCORES, f"@pytest.fixture\ndef judged(): {JUDGES}")
    project.write("test_a.py", SCORES, HOLDS, SKIPPED.format("request", "request.getfixturevalue('judged')"))
    assert missing(project) == {"test_a.py::test_it": "skipped"}


def test_an_installed_package_that_wraps_an_assertion_is_followed(project: Project) -> None:
    project.write("site-packages/company_audits.py", SCORES, SHARED)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project.path / "site-packages"))
        project.write("test_a.py", SCORES, "import company_audits", HOLDS, SKIPPED.format("", "company_audits.leaks()"))
        assert missing(project) == {"test_a.py::test_it": "skipped"}


@pytest.mark.parametrize("method", ["tearDown", "asyncSetUp", "asyncTearDown"])
def test_what_is_judged_around_a_test_is_followed(project: Project, method: str) -> None:
    word, base = ("async ", "IsolatedAsyncioTestCase") if method.startswith("async") else ("", "TestCase")
    own = (
        f"import unittest\nclass Own(unittest.{base}):\n    @unittest.skip('later')\n    {word}def test_it(self): pass"
    )
    project.write("test_a.py", SCORES, HOLDS, f"{own}\n    {word}def {method}(self): {JUDGES}")
    assert missing(project) == {"test_a.py::Own::test_it": "skipped"}


def test_a_hook_that_puts_something_else_into_a_test_makes_it_no_other(project: Project) -> None:
    project.write(
        "conftest.py",
        """
        def pytest_collection_modifyitems(items):
            for item in items:
                if item.name == "test_leaks":
                    item.obj = lambda: None
        """,
    )
    project.write("test_a.py", SCORES, HOLDS, LEAKS)
    assert missing(project) == {"test_a.py::test_leaks": "passed"}


def test_a_folder_that_the_project_passes_over_is_missed_unless_it_declares_that_it_holds_none(
    project: Project,
) -> None:
    project.ini(norecursedirs="more")
    project.write("test_a.py", SCORES, HOLDS)
    project.write("more/test_b.py", SCORES, LEAKS)
    assert missing(project) == {"more/test_b.py": "not collected"}
    project.write("more/test_b.py", SCORES, "pytestmark = pytest.mark.diffprivacy(audit=False)\n", LEAKS)
    assert project.run("--diffprivacy-report=audit.json").exit_code == 0


def test_another_ini_file_hides_no_file_of_the_project_s_own(project: Project) -> None:
    project.ini(python_files="test_*.py audit_*.py")
    project.write("other.ini", "[pytest]")
    project.write("test_a.py", SCORES, HOLDS)
    project.write("audit_b.py", SCORES, LEAKS)
    assert missing(project, "-c", "other.ini") == {"audit_b.py": "not collected"}


def test_without_its_conftest_a_run_is_no_pass(project: Project) -> None:
    project.write("conftest.py", SCORES, f"@pytest.fixture(autouse=True)\ndef judged(): {JUDGES}")
    project.write("test_a.py", SCORES, HOLDS)
    assert missing(project, "--noconftest") == {"--noconftest": "changes which tests there are"}


@pytest.mark.slow
def test_a_module_of_a_package_stands_for_its_folder(project: Project) -> None:
    project.write("parts/__init__.py", "")
    project.write("parts/test_a.py", SCORES, HOLDS)
    project.write("parts/test_b.py", SCORES, LEAKS)
    environment = {"PYTHONPATH": os.pathsep.join([str(project.path), os.environ.get("PYTHONPATH", "")])}
    arguments = ("--diffprivacy-report=audit.json", "--pyargs", "parts.test_a")
    seen = project.run_alone(*arguments, environment=environment)
    assert (project.record().missing, seen.exit_code) == (("parts/test_b.py: not collected, no claim was judged",), 1)


def test_no_later_hook_makes_a_red_run_green(project: Project) -> None:
    project.write(
        "conftest.py",
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(session):
            session.exitstatus = 0
        """,
    )
    project.write("test_a.py", SCORES, HOLDS, LEAKS)
    seen = project.run("--diffprivacy-report=audit.json")
    assert (project.record().verdict, seen.exit_code) == ("FAIL", 1)


@pytest.mark.parametrize("part", ["run", "audits", "reports"])
def test_no_part_of_the_plugin_can_be_left_out(project: Project, part: str) -> None:
    project.write("test_a.py", SCORES, HOLDS, f"@pytest.mark.skip\n{LEAKS}")
    seen = project.run("-p", f"no:diffprivacy-{part}")
    assert seen.exit_code == 4
    assert f"-p no:diffprivacy-{part} would leave audits unjudged. Leave it out." in seen.errors
