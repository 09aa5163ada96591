"""What is declared in pyproject.toml enters the record that pytest writes; a field that there is not ends the run."""

from __future__ import annotations

from pytest_diffprivacy.declaration import FIELDS
from tests.plugin.conftest import SCORES, Project

AUDIT = """
    def test_hidden():
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.3)
"""


def test_the_declaration_is_part_of_the_record_and_its_page(project: Project) -> None:
    project.write("test_release.py", SCORES + AUDIT)
    project.write("pyproject.toml", '[tool.diffprivacy.report]\nauditor = "A. Example"\n')
    assert project.run("--diffprivacy-report=a.html").exit_code == 0
    declared = project.record().declared
    assert list(declared) == list(FIELDS)
    assert declared["auditor"] == "A. Example"
    assert "A. Example" in (project.path / "a.html").read_text()


def test_a_field_that_there_is_not_ends_the_run_before_anything_is_collected(project: Project) -> None:
    project.write("test_release.py", "raise RuntimeError('collected')")
    project.write("pyproject.toml", '[tool.diffprivacy.report]\nautor = "A. Example"\n')
    seen = project.run()
    assert seen.exit_code == 4
    assert "[tool.diffprivacy.report] must use the fields auditor, " in seen.errors
    assert "collected" not in seen.text
