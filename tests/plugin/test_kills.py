"""A run that is killed at any moment, beside the report of an earlier one, leaves no PASS that it did not earn."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys

import pytest

from tests.plugin.conftest import SCORES, Project

KILLS = 6
AUDITS = """
    import time

    @pytest.mark.parametrize("number", range(4))
    def test_holds(number):
        time.sleep(0.3)
        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
"""


@pytest.mark.slow
def test_no_kill_leaves_a_pass_that_was_not_earned(project: Project) -> None:
    project.write("test_a.py", SCORES, AUDITS)
    draws, report = random.Random(5), project.path / "audit.json"
    command = [sys.executable, "-m", "pytest", "-q", "--diffprivacy-report=audit.json"]
    for number in range(KILLS):
        report.write_text('{"verdict": "PASS", "claims": []}')
        with subprocess.Popen(command, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while report.exists() and run.poll() is None:  # until the plugin is loaded, nothing of ours can act
                continue
            try:
                run.wait(draws.uniform(0.0, 6.0))
            except subprocess.TimeoutExpired:
                run.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3])
        if report.exists():
            record = json.loads(report.read_text())
            assert record["verdict"] != "PASS" or len(record["claims"]) == 4
