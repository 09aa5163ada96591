"""What does each verdict look like to a user, and what stays on disk?"""

from __future__ import annotations

import re
import shlex

import pytest

from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.statistics import Verdict
from tests.plugin.conftest import SCORES, Project, Seen

HOLDS = """
    def test_members_hidden():
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
"""
REFUTED = """
    def test_members_hidden():
        assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)
"""
UNDECIDED = """
    def test_members_hidden():
        assert_mia_tpr_below(*scores(0.0, 60, 60), max_fpr=0.05, limit=0.1)
"""
TOO_FEW = """
    def test_members_hidden():
        assert_mia_tpr_below(*scores(0.0, 60, 60), max_fpr=0.01, limit=0.1)
"""
NAN_MODEL = """
    import torch
    from pytest_diffprivacy import ProbeSet
    from pytest_diffprivacy.models import ideal_denoiser

    IMAGES = np.random.default_rng(3).random((40, 1, 4, 4)).astype(np.float32)

    @pytest.fixture
    def diffusion_model():
        model = ideal_denoiser(torch.from_numpy(IMAGES[:20]))
        model.predict_eps = lambda x_t, timestep, conditioning=None: torch.full_like(x_t, torch.nan)
        return model

    @pytest.fixture
    def probe_set():
        return ProbeSet(IMAGES[:20], IMAGES[20:])

    def test_broken_model(diffusion_model, probe_set):
        assert_mia_tpr_below(diffusion_model, probe_set, attack="loss", max_fpr=0.1, limit=0.5)
"""


def test_a_claim_that_holds_passes(project: Project) -> None:
    project.write("test_release.py", SCORES, HOLDS)
    seen = project.run()
    assert seen.exit_code == 0
    assert seen.last == "1 passed"
    assert seen.line("PASS ").startswith(
        "PASS          test_release.py::test_members_hidden: TPR at FPR <= 0.05 is at most 0.2: observed "
    )
    assert seen.line("run ") == "run           PASS: all 1 claims hold"
    claim = project.claim()
    assert claim.verdict is Verdict.PASS
    assert claim.high <= claim.limit == 0.2
    assert project.record().verdict == "PASS"
    assert (project.path / ".diffprivacy" / ".gitignore").read_text() == "*\n"


def test_a_refuted_claim_fails_with_an_aligned_block_and_no_traceback(project: Project) -> None:
    project.write("test_release.py", SCORES, REFUTED)
    seen = project.run()
    assert seen.exit_code == 1
    assert seen.last == "1 failed"
    claim = project.claim()
    start = seen.lines.index("PrivacyViolation: Members can be recognised more often than allowed.")
    block = seen.lines[start + 1 : start + 8]
    assert block == [
        "  claim      TPR at FPR <= 0.05 is at most 0.2",
        f"  observed   {claim.value:.4g}, one-sided 95% bounds [{claim.low:.4g}, {claim.high:.4g}]",
        "  counts     400 members, 400 non-members",
        "  attack     Scores made elsewhere",
        f"  verdict    FAIL at confidence 0.95: {claim.reason}",
        f"  evidence   .diffprivacy/runs/{project.run_folders()[0].name}/claims/{claim.id}.json",
        "  redo       pytest test_release.py::test_members_hidden --diffprivacy-seed=0",
    ]
    assert (project.path / block[5].split()[1]).is_file()
    assert "Traceback" not in seen.text
    assert seen.tracebacks_into_us == []
    assert claim.verdict is Verdict.FAIL
    assert claim.low > claim.limit
    assert project.record().verdict == "FAIL"


@pytest.mark.slow
def test_full_trace_still_shows_the_way_through_our_code(project: Project) -> None:
    project.write("test_release.py", SCORES, REFUTED)
    seen = project.run("--full-trace")
    assert seen.exit_code == 1
    assert any("claims/mia_tpr.py" in line for line in seen.tracebacks_into_us)


def test_the_redo_command_repeats_the_verdict(project: Project) -> None:
    project.write("audits/test_release.py", SCORES, REFUTED, HOLDS.replace("members_hidden", "other_members_hidden"))
    project.run("--diffprivacy-seed=17")
    command = project.record().claims[0].redo
    program, *arguments = shlex.split(command)
    seen = project.run(*arguments)
    assert program == "pytest"
    assert arguments == ["audits/test_release.py::test_members_hidden", "--diffprivacy-seed=17"]
    assert seen.last == "1 failed"
    first, second = (_claims_of(project, index)["audits/test_release.py::test_members_hidden"] for index in (0, 1))
    assert (second.id, second.seed, second.estimate) == (first.id, 17, first.estimate)


@pytest.mark.parametrize(
    ("policy", "exit_code"), [(None, 1), ("fail", 1), ("warn", 0), ("skip", 0)], ids=["default", "fail", "warn", "skip"]
)
def test_an_undecided_claim_has_its_own_letter_and_count(project: Project, policy: str | None, exit_code: int) -> None:
    project.write("test_release.py", SCORES, UNDECIDED)
    if policy is not None:
        project.ini(diffprivacy_inconclusive=policy)
    seen = project.run()
    assert seen.exit_code == exit_code
    assert seen.last == "1 inconclusive"
    assert re.match(r"test_release.py i +\[100%\]", seen.line("test_release.py i"))
    assert "Inconclusive: These probes do not decide" in seen.text
    assert _number(seen.line("needed"), r"about (\d+) members and as many non-members would decide") > 60
    assert seen.line("run ") == "run           INCONCLUSIVE: 1 of 1 claims are undecided"
    assert project.claim().verdict is Verdict.INCONCLUSIVE
    assert project.record().verdict == "INCONCLUSIVE"
    assert seen.tracebacks_into_us == []


def test_the_short_summary_names_undecided_claims_beside_failures_and_errors(project: Project) -> None:
    project.write("test_release.py", SCORES, REFUTED.replace("members_hidden", "refuted"), UNDECIDED, NAN_MODEL)
    for more in ([], ["-n", "2"]):
        seen = project.run("-p", "no:randomly", *more)
        start = next(i for i, line in enumerate(seen.lines) if "short test summary info" in line)
        assert sorted(" ".join(line.split()[:2]) for line in seen.lines[start + 1 : -1]) == [
            "ERROR test_release.py::test_broken_model",
            "FAILED test_release.py::test_refuted",
            "INCONCLUSIVE test_release.py::test_members_hidden",
        ]
        assert seen.last == "1 failed, 1 error, 1 inconclusive"


def test_no_name_reaches_the_terminal_as_an_escape(project: Project) -> None:
    project.write(
        "test_release.py",
        SCORES,
        """
        NAME = "\\x1b[31mred\\x9b2J\\u202e"

        def test_error():
            def attack(model, images):
                raise RuntimeError(NAME)
            assert_mia_tpr_below(object(), object(), attack=attack, max_fpr=0.05, limit=0.2)

        def test_usage():
            assert_mia_tpr_below(*HIDDEN, attack=NAME, max_fpr=0.05, limit=0.2)

        def test_fixture(diffusion_model):
            pass
        """,
    )
    for more in (["--diffprivacy-model=no \x1b[31mmodel"], ["--diffprivacy-plan"], ["--diffprivacy-report=\x1b[31m.x"]):
        seen = project.run("--tb=short", "--color=no", *more)
        assert not any(mark in seen.text + seen.errors for mark in ("\x1b", "\x9b", "\u202e"))


def test_the_word_inconclusive_stands_in_verbose_output(project: Project) -> None:
    project.write("test_release.py", SCORES, UNDECIDED)
    assert project.run("-v").line("test_release.py::test_members_hidden INCONCLUSIVE")


def test_too_few_nonmembers_for_the_fpr_is_inconclusive_and_says_how_many_it_takes(project: Project) -> None:
    project.write("test_release.py", SCORES, TOO_FEW)
    seen = project.run()
    assert seen.exit_code == 1
    assert seen.last == "1 inconclusive"
    assert _number(seen.line("verdict"), r"at least (\d+)") > 60
    claim = project.claim()
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert claim.estimate is None
    assert claim.needed == claim.reason


def test_nan_from_the_model_is_an_error_and_never_a_pass(project: Project) -> None:
    project.write("test_release.py", SCORES, NAN_MODEL)
    seen = project.run()
    assert seen.exit_code == 1
    assert seen.last == "1 error"
    message = seen.line("AuditError: ")
    assert "the model's output is not finite for 20 of 20 images" in message
    assert "Check the checkpoint and its precision" in message
    assert seen.tracebacks_into_us == []
    assert project.claim().verdict is Verdict.ERROR
    assert project.record().verdict == "ERROR"


def test_two_claims_alike_in_one_test_are_both_kept(project: Project) -> None:
    project.write(
        "test_release.py",
        SCORES,
        """
        def test_the_old_release_leaked_and_the_new_one_does_not():
            with pytest.raises(PrivacyViolation):
                assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)
            assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
        """,
    )
    assert project.run().exit_code == 1
    assert sorted(claim.verdict.value for claim in project.record().claims) == ["FAIL", "PASS"]


def _claims_of(project: Project, index: int) -> dict[str, Claim]:
    folder = project.run_folders()[index] / "claims"
    claims = [Claim.model_validate_json(path.read_bytes()) for path in folder.glob("*.json")]
    return {claim.node_id: claim for claim in claims}


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    assert found, text
    return int(found[1])


@pytest.mark.slow
def test_alone_and_with_two_workers_a_run_ends_alike(project: Project) -> None:
    rename = "members_hidden"
    project.write(
        "test_release.py",
        SCORES,
        HOLDS.replace(rename, "a_holds"),
        REFUTED.replace(rename, "b_refuted"),
        UNDECIDED.replace(rename, "c_undecided"),
        TOO_FEW.replace(rename, "d_too_few"),
        NAN_MODEL,
    )
    alone = project.run("--diffprivacy-cache-dir=alone")
    together = project.run("-n", "2", "--diffprivacy-cache-dir=together")
    assert alone.exit_code == together.exit_code == 1
    assert alone.last == together.last == "1 failed, 1 passed, 1 error, 2 inconclusive"
    assert _summary(alone) == _summary(together)
    assert len(project.run_folders("alone")) == len(project.run_folders("together")) == 1
    for store in ("alone", "together"):
        assert sorted(path.name for path in project.run_folders(store)[0].iterdir()) == [
            "claims",
            "events.jsonl",
            "evidence",
            "run.json",
            "run.json.sha256",
        ]
    one, other = project.record("alone"), project.record("together")
    assert [c.model_dump(exclude={"work", "artifacts"}) for c in one.claims] == [
        c.model_dump(exclude={"work", "artifacts"}) for c in other.claims
    ]
    assert (one.verdict, one.verdict_reason, one.tests, one.missing) == (
        other.verdict,
        other.verdict_reason,
        other.tests,
        other.missing,
    )
    assert [claim.verdict.value for claim in one.claims] == ["PASS", "FAIL", "ERROR", "INCONCLUSIVE", "INCONCLUSIVE"]


def _summary(seen: Seen) -> list[str]:
    """The closing section of the plugin."""
    start = next(i for i, line in enumerate(seen.lines) if line.strip("= ") == "diffprivacy")
    return [line for line in seen.lines[start:] if line.startswith(("PASS", "FAIL ", "INC", "ERROR  ", "run", "MISS"))]
