"""Does pytest take an option from every place where a user may write it?"""

from __future__ import annotations

import pytest

from pytest_diffprivacy.options import OPTIONS
from tests.plugin.conftest import Project


@pytest.mark.parametrize("place", ["flag", "environment", "ini"])
def test_pytest_refuses_a_bad_value_before_it_collects(
    project: Project, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    project.write("test_release.py", "raise RuntimeError('collected')")
    if place == "ini":
        project.ini(diffprivacy_confidence="0.05")
    if place == "environment":
        monkeypatch.setenv("PYTEST_DIFFPRIVACY_CONFIDENCE", "0.05")
    seen = project.run(*(["--diffprivacy-confidence=0.05"] if place == "flag" else []))
    name = {
        "flag": "--diffprivacy-confidence",
        "environment": "PYTEST_DIFFPRIVACY_CONFIDENCE",
        "ini": "diffprivacy_confidence",
    }[place]
    assert seen.exit_code == 4
    assert f"ERROR: {name} must be a number above 0.5 and below 1, got '0.05'." in seen.errors
    assert "collected" not in seen.text + seen.errors


def test_pytest_shows_every_option_in_its_help(project: Project) -> None:
    seen = project.run("--help")
    for option in OPTIONS:
        assert option.flag in seen.text
        assert option.ini in seen.text


def test_a_relative_path_in_the_ini_file_holds_from_any_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.ini(diffprivacy_cache_dir="store", diffprivacy_model="missing/release-3")
    audit = project.write("audits/deep/test_release.py", "def test_model(diffusion_model): ...")
    monkeypatch.chdir(audit.parent)
    seen = project.run()
    assert f"Model path '{project.path}/missing/release-3' does not exist." in seen.text
    assert len(project.run_folders("store")) == 1


def test_a_call_s_confidence_goes_before_environment_and_ini_and_behind_the_command_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(
        "test_release.py",
        """
        import numpy as np
        from pytest_diffprivacy import assert_mia_tpr_below

        def test_members_hidden():
            scores = np.random.default_rng(0).normal(size=(2, 500))
            assert_mia_tpr_below(*scores, max_fpr=0.05, limit=0.3, confidence=0.9)
        """,
    )
    project.ini(diffprivacy_confidence="0.8")
    monkeypatch.setenv("PYTEST_DIFFPRIVACY_CONFIDENCE", "0.85")
    project.run()
    assert project.claim().confidence == 0.9
    project.run("--diffprivacy-confidence=0.99")
    claim = project.claim()
    assert claim.confidence == 0.99
    assert claim.estimate is not None
    assert claim.estimate.confidence == 0.99
