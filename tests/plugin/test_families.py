"""What do several claims, reruns and lost workers make of a run?"""

from __future__ import annotations

import pytest

from tests.plugin.conftest import SCORES, Project

MARKED = "pytestmark = pytest.mark.diffprivacy\n"
HOLDS = """
    @pytest.mark.parametrize("number", range({count}))
    def test_holds(number):
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
"""
WEAKLY_REFUTED = """
    def test_weakly_refuted():  # p about 0.02: refuted alone, not among ten
        rng = np.random.default_rng(1)
        assert_mia_tpr_below(rng.normal(0.0, 1.0, 400) + 0.75, HIDDEN[1], max_fpr=0.05, limit=0.045)
"""
STRONGLY_REFUTED = """
    def test_strongly_refuted():
        assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)
"""
RERUNS = """
    from _pytest.runner import runtestprotocol

    def pytest_runtest_protocol(item, nextitem):  # what a plugin for flaky tests does
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for attempt in range(2):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            failed = any(report.failed for report in reports)
            for report in reports:
                if failed and attempt == 0 and report.when == "call":
                    report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
            if not failed:
                break
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
"""
FLAKY = """
    CALLS = []

    def test_flaky():
        CALLS.append(1)
        limit = 0.2
        assert_mia_tpr_below(*(LEAKING if len(CALLS) == 1 else HIDDEN), max_fpr=0.05, limit=limit)
"""
KILLED = """
    import os
    import signal

    def test_kills_its_worker():
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
        if os.environ.get("PYTEST_XDIST_WORKER"):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_weak_refutation_refutes_its_claim_but_not_a_run_of_many(project: Project) -> None:
    project.write("test_release.py", SCORES, MARKED, WEAKLY_REFUTED)
    assert project.run().line("run ") == "run           FAIL: 1 of 1 claims are refuted"
    (member,) = project.record().family.members
    assert 0.005 < member.p_value < 0.05
    assert project.claim().p_value == member.p_value
    project.write("test_release.py", SCORES, MARKED, WEAKLY_REFUTED, HOLDS.format(count=9))
    seen = project.run()
    assert seen.exit_code == 1  # the test of the refuted claim fails nevertheless
    assert seen.line("run ") == (
        "run           INCONCLUSIVE: 1 of 10 claims refuted on their own, none after Holm's correction for 10"
    )
    family = project.record().family
    assert (family.audits, family.size, family.significance) == (10, 10, 0.05)
    assert min(member.adjusted for member in family.members) == pytest.approx(10 * member.p_value)


def test_a_strong_refutation_refutes_a_run_of_many(project: Project) -> None:
    project.write("test_release.py", SCORES, MARKED, STRONGLY_REFUTED, HOLDS.format(count=9))
    assert project.run().line("run ") == "run           FAIL: 1 of 10 claims are refuted"
    assert [member.refuted for member in project.record().family.members].count(True) == 1


def test_the_family_is_fixed_at_collection_and_deselected_audits_belong_to_it(project: Project) -> None:
    project.write("test_release.py", SCORES, MARKED, WEAKLY_REFUTED, HOLDS.format(count=9))
    project.run("-k", "weakly")
    record = project.record()
    assert (record.family.audits, record.family.size, len(record.claims)) == (10, 10, 1)
    assert record.verdict == "INCOMPLETE"


@pytest.mark.slow
def test_alone_and_with_two_workers_the_family_is_the_same(project: Project) -> None:
    project.write("test_release.py", SCORES, MARKED, WEAKLY_REFUTED, HOLDS.format(count=9))
    project.run("--diffprivacy-cache-dir=alone")
    project.run("-n", "2", "--diffprivacy-cache-dir=together")
    one, other = project.record("alone"), project.record("together")
    assert one.family == other.family
    assert (one.verdict, one.verdict_reason, one.incidents) == (other.verdict, other.verdict_reason, other.incidents)


def test_a_rerun_is_an_incident_and_buys_no_pass(project: Project) -> None:
    project.write("conftest.py", RERUNS)
    project.write("test_release.py", SCORES, MARKED, FLAKY)
    seen = project.run()
    record = project.record()
    assert "test_release.py::test_flaky was run again." in record.incidents
    assert record.verdict == "FAIL"
    assert seen.exit_code == 1
    assert seen.line("INCIDENT").endswith("test_flaky was run again.")


@pytest.mark.parametrize(
    ("first", "verdict"),
    [("scores(0.0, 5, 5)", "INCONCLUSIVE"), ("(HIDDEN[0] * np.nan, HIDDEN[1])", "ERROR")],
    ids=["undecided", "not judged"],
)
def test_a_rerun_buys_no_green_exit_code_either(project: Project, first: str, verdict: str) -> None:
    project.write("conftest.py", RERUNS)
    project.write("test_release.py", SCORES, MARKED, FLAKY.replace("LEAKING", first))
    seen = project.run()
    assert project.record().verdict == verdict
    assert seen.line("run ").startswith(f"run           {verdict}: 1 of 2 claims")
    assert seen.exit_code == 1


def test_a_claim_judged_twice_alike_counts_twice(project: Project) -> None:
    project.write(
        "test_release.py",
        SCORES,
        MARKED,
        """
        def test_twice():
            for _ in range(2):
                assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
        """,
    )
    seen = project.run()
    record = project.record()
    assert [verdict.value for verdict in record.attempts[0].verdicts] == ["PASS", "PASS"]
    assert (record.family.audits, record.family.size) == (1, 2)
    assert "test_twice was judged 2 times: PASS, PASS" in seen.line("INCIDENT")
    assert record.verdict == "PASS"


def test_another_seed_on_the_same_model_is_an_incident(project: Project) -> None:
    project.write("test_release.py", SCORES, MARKED, HOLDS.format(count=1))
    project.run()
    assert not project.record().incidents
    project.run()
    assert not project.record().incidents  # the same computation again
    seen = project.run("--diffprivacy-seed=5")
    assert "with seed 0: PASS; now with seed 5: PASS." in project.record().incidents[-1]
    assert "was judged before from scores made elsewhere, in run" in seen.text


def test_other_scores_are_no_retry_and_a_damaged_earlier_record_is_an_incident(project: Project) -> None:
    project.write("test_release.py", SCORES, MARKED, HOLDS.format(count=1))
    project.run()
    project.write("test_release.py", SCORES.replace("default_rng(7)", "default_rng(8)"), MARKED, HOLDS.format(count=1))
    project.run("--diffprivacy-seed=5")
    assert not project.record().incidents
    next((project.path / ".diffprivacy" / "runs").glob("*/claims/*.json")).write_bytes(b"")
    seen = project.run()
    assert "An earlier record of test_release.py" in seen.text
    assert "is no record of a claim" in seen.text
    assert project.record().verdict == "PASS"


@pytest.mark.parametrize("restarts", [(), ("--max-worker-restart=0",)], ids=["replaced", "not replaced"])
@pytest.mark.slow
def test_a_killed_worker_leaves_the_run_incomplete_and_not_green(project: Project, restarts: tuple[str, ...]) -> None:
    project.write("test_release.py", SCORES, MARKED, KILLED, HOLDS.format(count=2))
    seen = project.run_alone("-n", "1", *restarts)
    record = project.record()
    assert seen.exit_code != 0
    assert record.verdict == "INCOMPLETE"
    assert "test_release.py::test_kills_its_worker: the worker that ran it was lost" in record.missing
    assert any(text.startswith("Worker gw0 was lost") for text in record.incidents)
    assert len(record.missing) == (3 if restarts else 1)
    assert record.family.audits == 3
