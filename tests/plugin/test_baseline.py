"""What does a committed baseline of the last release do to the next run?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy.evidence.verify import verify_run
from pytest_diffprivacy.models.noise import image_digest
from tests.plugin.conftest import MODEL, Project, Seen

LEAK = """
    from pytest_diffprivacy import ScoreTable

    def scores():  # every release finds the same images hard; LEAK says how much it knows of members
        hard = np.random.default_rng(5).normal(size=1200)
        ids = [f"member {i}" for i in range(600)] + [f"non-member {i}" for i in range(600)]
        known = hard + float(os.environ["LEAK"]) * (np.arange(1200) < 600)
        return ScoreTable({"attack": dict(zip(ids, known.tolist(), strict=True))})

    def test_members_hidden(probe_set):
        assert_mia_tpr_below(scores(), probe_set, max_fpr=0.05, limit=0.5)
"""


@pytest.fixture
def released(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose last release is in baseline.json."""
    monkeypatch.setenv("LEAK", "0.1")
    project.write("test_release.py", MODEL, LEAK)
    project.ini(diffprivacy_baseline="baseline.json")
    seen = project.run("--diffprivacy-update-baseline")
    assert seen.exit_code == 0, seen.text
    assert seen.line("baseline ") == "baseline      1 claims written to baseline.json"
    return project


def against(project: Project, monkeypatch: pytest.MonkeyPatch, leak: str, *arguments: str) -> Seen:
    monkeypatch.setenv("LEAK", leak)
    return project.run(*arguments)


def test_the_committed_file_holds_ranks_and_no_score_digest_or_image_name(released: Project) -> None:
    text = (released.path / "baseline.json").read_text()
    (claim,) = json.loads(text)["claims"]
    assert sorted(claim["ranked"]["attack"]["members"] + claim["ranked"]["attack"]["nonmembers"]) == list(
        range(2, 2402, 2)
    )
    assert claim["key"] == "test_release.py::test_members_hidden mia-table 1"
    images = np.random.default_rng(3).random((1200, 1, 4, 4)).astype(np.float32)
    assert not any(image_digest(image).hex()[:12] in text for image in images)


@pytest.mark.slow
def test_a_worse_release_is_told_although_its_claim_holds(released: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = against(released, monkeypatch, "0.3")
    assert seen.exit_code == 0  # by default a comparison is shown and fails nothing
    shown = released.claim().comparison
    assert (shown.outcome, shown.fails, shown.measured) == ("worse", False, "AUROC of attack")
    assert 0.0 < shown.increase.low < shown.new - shown.old < shown.increase.high
    seen = against(released, monkeypatch, "0.3", "--diffprivacy-compare-fail=worse")
    assert seen.exit_code == 1
    assert "Regression: The claim holds, but not beside the last release." in seen.text
    assert seen.line("compared ").startswith("compared   worse than the last release: increase: lower bound")
    assert shown.p_worse is None  # of flags by thresholds that were estimated no test is shown
    assert "McNemar" not in seen.text
    assert seen.line("run ") == "run           FAIL: 1 of 1 claims failed beside the last release"


@pytest.mark.slow
def test_the_same_release_again_is_not_worse_within_a_margin_and_undecided_without_one(
    released: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert against(released, monkeypatch, "0.1", "--diffprivacy-compare-fail=undecided:0.02").exit_code == 0
    assert released.claim().comparison.outcome == "not worse"
    assert against(released, monkeypatch, "0.1", "--diffprivacy-compare-fail=undecided").exit_code == 1
    assert released.claim().comparison.outcome == "undecided"


@pytest.mark.slow
def test_other_probes_or_parameters_are_not_compared(released: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    against(released, monkeypatch, "0.1", "--diffprivacy-seed=4")
    comparison = released.claim().comparison
    assert comparison.outcome == "not comparable"
    assert "the seed are not the same" in comparison.reason
    fewer = MODEL.replace("ProbeSet(IMAGES[:600]", "ProbeSet(IMAGES[:599]")
    released.write("test_release.py", fewer, LEAK.replace("range(600)]", "range(599)]", 1).replace("1200", "1199"))
    against(released, monkeypatch, "0.1")
    assert "the probes are not the same" in released.claim().comparison.reason


@pytest.mark.slow
def test_alone_and_with_two_workers_the_comparison_is_the_same(
    released: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    against(released, monkeypatch, "0.3")
    alone = released.claim().comparison
    against(released, monkeypatch, "0.3", "-n", "2")
    assert released.claim().comparison == alone


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("-n", "2"), 4, "needs one process, got several workers"),
        (("--tx", "2*popen", "--dist", "load"), 4, "needs one process, got several workers"),
        (("-k", "hidden"), 4, "only a part of the audits was selected"),
        (("test_release.py::test_members_hidden",), 4, "only a part of the audits was selected"),
    ],
)
@pytest.mark.slow
def test_an_update_from_workers_or_a_part_is_refused(
    released: Project, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    before = (released.path / "baseline.json").read_bytes()
    seen = released.run("--diffprivacy-update-baseline", *arguments)
    assert seen.exit_code == exit_code
    assert message in seen.text + seen.errors
    assert (released.path / "baseline.json").read_bytes() == before


@pytest.mark.slow
def test_an_update_may_not_lose_a_claim(released: Project) -> None:
    before = (released.path / "baseline.json").read_bytes()
    released.write("test_release.py", MODEL, LEAK.replace("def test_members_hidden", "def test_renamed"))
    seen = released.run("--diffprivacy-update-baseline")
    assert "1 of its claims were not judged in this run, e.g. test_release.py::test_members_hidden" in seen.text
    assert seen.exit_code == 4
    assert (released.path / "baseline.json").read_bytes() == before


@pytest.mark.parametrize(
    ("second", "arguments", "message"),
    [
        (
            "def test_second(probe_set):\n        assert_mia_tpr_below(scores(), probe_set, max_fpr=0.05, limit=0.5)",
            ("-x",),
            "selected, no claim was judged",
        ),
        ("def test_second():\n        assert_mia_tpr_below(*(np.ones(99),) * 2, limit=0.5)", (), "ERROR"),
    ],
    ids=["not reached", "not judged"],
)
@pytest.mark.slow
def test_a_refuted_claim_does_not_hide_what_an_update_lacks(
    project: Project, monkeypatch: pytest.MonkeyPatch, second: str, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("LEAK", "5")
    project.write("test_release.py", MODEL, LEAK, "    " + second)
    project.ini(diffprivacy_baseline="baseline.json")
    seen = project.run("--diffprivacy-update-baseline", *arguments)
    assert project.record().verdict == "FAIL"
    assert f"not every audit was judged, e.g. test_release.py::test_second: {message}" in seen.text
    assert not (project.path / "baseline.json").exists()


@pytest.mark.slow
def test_a_claim_of_the_last_release_that_is_gone_is_said_and_fails_where_all_must_be_compared(
    released: Project,
) -> None:
    released.write("test_release.py", MODEL, LEAK, LEAK.replace("test_members_hidden", "test_again"))
    assert released.run("--diffprivacy-update-baseline").exit_code == 0
    released.write("test_release.py", MODEL, LEAK)
    seen = released.run("--diffprivacy-compare-fail=worse")
    assert seen.exit_code == 0
    assert "A claim of the last release was not judged: test_release.py::test_again (TPR at FPR" in seen.text
    seen = released.run("--diffprivacy-compare-fail=undecided:0.02")
    assert seen.exit_code == 1
    assert seen.line("run ").startswith(
        "run           FAIL: the last release was judged by what this run lacks: test_release.py::test_again (TPR"
    )
    assert not [check for check in verify_run(released.run_folders()[-1]) if check.problem]


def test_a_rule_without_a_baseline_is_refused(project: Project) -> None:
    project.write("test_release.py", MODEL, LEAK)
    seen = project.run("--diffprivacy-compare-fail=worse")
    assert seen.exit_code == 4
    assert "must be left out without a baseline, got worse: nothing would be compared" in seen.errors


def test_a_baseline_that_is_not_there_stops_the_run_before_it_starts(project: Project) -> None:
    project.write("test_release.py", MODEL, LEAK)
    seen = project.run("--diffprivacy-baseline", str(Path("none.json")))
    assert seen.exit_code == 4
    assert "`diffprivacy_baseline` must be an existing file, got 'none.json'" in seen.errors
