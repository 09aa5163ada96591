"""Do the parts of a run that was split make one that is whole?"""

from __future__ import annotations

import json

import pytest

from pytest_diffprivacy.cli import main
from tests.plugin.conftest import MODEL, SCORES, Project

AUDITS = """
    @pytest.mark.parametrize("number", range(3))
    def test_holds(number):
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
"""


def parts(project: Project, *chosen: str) -> list[str]:
    """The reports of one run each, of what -k or a file chooses."""
    names = [f"{number}.json" for number in range(len(chosen))]
    for name, words in zip(names, chosen, strict=True):
        project.run(*words.split(), f"--diffprivacy-report={name}")
        assert json.loads((project.path / name).read_text())["verdict"] != "PASS"
    return names


@pytest.mark.parametrize("chosen", [("-k 0", "-k 1", "-k 2"), ("-k 0", "-k 1"), ("-k 0", "-k 0", "-k 1")])
def test_together_they_are_pass_if_they_hold_every_audit(
    project: Project, capsys: pytest.CaptureFixture[str], chosen: tuple[str, ...]
) -> None:
    project.write("test_a.py", SCORES, AUDITS)
    names = parts(project, *chosen)
    capsys.readouterr()
    whole = len(set(chosen)) == 3
    assert main(["merge", *names, "--report", "whole.json"]) == (0 if whole else 4)
    assert ("all 3 claims hold" if whole else "MISSING       test_a.py::test_holds[2]") in capsys.readouterr().out
    assert main(["verdict", "whole.json"]) == (0 if whole else 4)


def test_files_that_other_parts_ran_are_not_missed_and_a_refuted_claim_stays_one(project: Project) -> None:
    project.write("test_a.py", SCORES, AUDITS)
    project.write("test_b.py", SCORES, AUDITS)
    names = parts(project, "test_a.py", "test_b.py")
    assert main(["merge", *names]) == 0
    project.write("test_b.py", SCORES, AUDITS.replace("*HIDDEN", "*(LEAKING if number else HIDDEN)"))
    assert main(["merge", *parts(project, "test_a.py", "test_b.py")]) == 1


def test_an_audit_that_ended_early_in_one_part_stays_missing(project: Project) -> None:
    project.write("test_b.py", SCORES, "def test_b():\n    return\n    assert_mia_tpr_below()")
    project.write("test_c.py", SCORES, AUDITS)
    assert main(["merge", *parts(project, "test_b.py", "test_c.py")]) == 4


def test_a_claim_of_one_part_covers_nothing_of_a_model_that_another_part_audited(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("pyproject.toml", "[tool.diffprivacy.policy]\nmia_tpr_below = { limit = 0.9, max_fpr = 0.05 }\n")
    project.write("conftest.py", MODEL)
    project.write("test_scores.py", SCORES, AUDITS)
    project.write(
        "test_model.py",
        """
        from pytest_diffprivacy import assert_mia_auroc_below

        def test_model(diffusion_model, probe_set):
            assert_mia_auroc_below(diffusion_model, probe_set, attack="loss", limit=0.99)
        """,
    )
    assert main(["merge", *parts(project, "test_scores.py", "test_model.py")]) == 1
    assert "LACKING       mia_tpr_below: limit 0.9, max_fpr 0.05" in capsys.readouterr().out


def test_one_run_given_twice_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write("test_a.py", SCORES, AUDITS)
    names = parts(project, "-k 0")
    assert main(["merge", *names, *names]) == 4
    assert "two or more runs" in capsys.readouterr().err
