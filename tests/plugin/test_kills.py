"""A run that is killed at any moment, beside the report of an earlier one, leaves no PASS that it did not earn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.conftest import Project
from tests.plugin.kills import SIGNALS, Killed, Killings

KILLS = 6  # thirty are a benchmark: python -m tests.benchmarks.kills


@pytest.mark.slow
def test_no_kill_leaves_a_pass_that_was_not_earned(project: Project) -> None:
    runs = Killings(Path(project.path), seed=5)
    killed = [runs.kill(number) for number in range(KILLS)]
    assert [(one, one.wrong) for one in killed if one.wrong] == []
    assert {one.signal for one in killed} == {sent.name for sent in SIGNALS}
    assert any(one.hit == "judging" and one.exit_code != 0 and one.claims for one in killed), killed
    assert any(one.report not in ("none", "earlier") for one in killed), killed  # it was interrupted or came to its end


@pytest.mark.parametrize(
    ("left", "wrong"),
    [
        (Killed("SIGKILL", "judging", -9, 2, "none", False, False), ""),
        (Killed("SIGKILL", "nothing yet", -9, 0, "earlier", False, False), ""),
        (Killed("SIGINT", "judging", 0, 4, "PASS", True, True), ""),
        (Killed("SIGKILL", "judging", -9, 2, "earlier", False, False), "the earlier report stands"),
        (Killed("SIGTERM", "judging", -15, 2, "PASS", False, False), "a PASS that was not earned"),
        (Killed("SIGINT", "judging", 0, 2, "PASS", False, True), "released although"),
        (Killed("SIGKILL", "over", 1, 4, "PASS", True, True), "released although"),
    ],
)
def test_what_a_killed_run_may_not_leave(left: Killed, wrong: str) -> None:
    assert left.wrong.startswith(wrong)
    assert bool(left.wrong) == bool(wrong)
