"""What does a policy do to a run?"""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import MODEL, SCORES, Project

MARKED = "pytestmark = pytest.mark.diffprivacy\n"
AUDIT = """
    def test_members_hidden():
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit={limit})
"""


def policy(project: Project, *lines: str) -> None:
    project.write("pyproject.toml", "[tool.diffprivacy.policy]\n" + "\n".join(lines))


def test_a_run_that_covers_the_policy_passes_and_names_its_hash(project: Project) -> None:
    policy(project, "mia_tpr_below = { max_fpr = 0.05, limit = 0.2 }")
    project.write("test_release.py", SCORES, MARKED, AUDIT.format(limit=0.15))
    seen = project.run()
    assert seen.exit_code == 0
    bound = project.record().policy
    assert (bound.origin, bound.entries, bound.uncovered) == (
        "pyproject.toml",
        ("mia_tpr_below: max_fpr 0.05, limit 0.2",),
        (),
    )
    assert seen.line("policy ") == f"policy        1 limits of pyproject.toml, sha256 {bound.sha256}"
    assert project.claim().terms == {"limit": 0.15, "confidence": 0.95, "max_fpr": 0.05}


def test_a_test_that_is_looser_than_the_policy_is_refused(project: Project) -> None:
    policy(project, "mia_tpr_below = { max_fpr = 0.05, limit = 0.1 }")
    project.write("test_release.py", SCORES, MARKED, AUDIT.format(limit=0.2))
    seen = project.run()
    assert seen.exit_code == 1
    message = seen.line("UsageError: ")
    assert "at least as strict as [tool.diffprivacy.policy] in pyproject.toml, got limit 0.2 (policy: 0.1)" in message
    assert project.record().verdict == "FAIL"
    assert project.record().claims == ()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
@pytest.mark.slow
def test_a_claim_that_the_policy_names_and_the_run_lacks_fails_the_run(
    project: Project, workers: tuple[str, ...]
) -> None:
    policy(project, "mia_tpr_below = { limit = 0.2 }", "no_extraction = { limit = 0.001 }")
    project.write("test_release.py", SCORES, MARKED, AUDIT.format(limit=0.2))
    seen = project.run(*workers)
    assert seen.exit_code == 1
    assert seen.last == "1 passed"
    assert seen.line("LACKING ") == "LACKING       no_extraction: limit 0.001"
    assert seen.line("run ") == (
        "run           FAIL: the policy demands what no claim covers: no_extraction: limit 0.001"
    )


@pytest.mark.parametrize("beside", ["[pytest]\n", None], ids=["an ini file below", "-c"])
def test_an_ini_file_elsewhere_does_not_lead_past_the_policy(project: Project, beside: str | None) -> None:
    policy(project, "mia_tpr_below = { max_fpr = 0.05, limit = 0.1 }")
    project.write("audits/test_release.py", SCORES, MARKED, AUDIT.format(limit=0.2))
    if beside is not None:
        project.write("audits/pytest.ini", beside)
    seen = project.run("audits", *(() if beside else ("-c", "/dev/null", "--rootdir", ".")))
    assert seen.exit_code == 1
    assert "in pyproject.toml, got limit 0.2 (policy: 0.1)" in seen.line("UsageError: ")


def test_a_report_that_was_asked_for_is_written_although_no_audit_is_left(project: Project) -> None:
    policy(project, "mia_tpr_below = { limit = 0.2 }")
    project.write("test_other.py", "def test_nothing():\n    pass\n")
    seen = project.run("--diffprivacy-report=audit.json")
    assert seen.exit_code == 1
    assert json.loads((project.path / "audit.json").read_text())["verdict"] == "FAIL"
    project.write("pyproject.toml", "")
    project.run("--diffprivacy-report=audit.json")
    assert json.loads((project.path / "audit.json").read_text())["verdict"] == "INCOMPLETE"


def test_a_demonstration_covers_nothing(project: Project) -> None:
    policy(project, "mia_tpr_below = { limit = 0.2 }")
    project.write(
        "test_release.py",
        SCORES,
        """
        @pytest.mark.diffprivacy(demonstration="the old release leaks")
        def test_the_old_release_leaks():
            assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)
        """,
    )
    assert project.run().exit_code == 1
    assert project.record().policy.uncovered == ("mia_tpr_below: limit 0.2",)


def test_a_policy_that_cannot_be_read_stops_the_run_before_it_starts(project: Project) -> None:
    policy(project, "mia_tpr_below = { limit = 'low' }")
    project.write("test_release.py", SCORES, MARKED, AUDIT.format(limit=0.2))
    seen = project.run()
    assert seen.exit_code == 4
    assert "mia_tpr_below.limit must be a finite number, got 'low'" in seen.errors


def test_a_suite_without_audits_is_left_alone(project: Project) -> None:
    policy(project, "mia_tpr_below = { limit = 0.2 }")
    project.write("test_other.py", "def test_nothing():\n    pass\n")
    seen = project.run()
    assert seen.exit_code == 0
    assert "policy" not in seen.text


def test_a_claim_about_another_model_covers_nothing_of_the_one_under_audit(project: Project) -> None:
    project.write("pyproject.toml", "[tool.diffprivacy.policy]\nmia_tpr_below = { limit = 0.9, max_fpr = 0.05 }\n")
    project.write("conftest.py", MODEL)
    project.write(
        "test_release.py",
        SCORES,
        """
        from pytest_diffprivacy import assert_mia_auroc_below

        def test_scores_of_something_else(diffprivacy):
            assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.5)

        def test_model(diffusion_model, probe_set):
            assert_mia_auroc_below(diffusion_model, probe_set, attack="loss", limit=0.99)
        """,
    )
    project.run()
    assert project.record().verdict == "FAIL"
    assert project.record().policy.uncovered == ("mia_tpr_below: limit 0.9, max_fpr 0.05",)
