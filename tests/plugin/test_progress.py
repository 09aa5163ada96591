"""Progress bars on a terminal: drawn while the test runs, with the remaining time, and over nothing of pytest's."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.plugin.conftest import Project

SLOW = """
    import time
    import numpy as np
    import pytest
    import torch
    from pytest_diffprivacy.engine import Engine, Unit, Work
    from pytest_diffprivacy.models import ideal_denoiser
    from pytest_diffprivacy.options import active

    def slowly(model, batch_size):
        time.sleep(0.6)
        return {"value": np.zeros(1)}

    def test_before():
        pass

    def test_that_takes_long():
        print("this is captured")
        units = [Unit(f"unit {number}", None, slowly, 10) for number in range(4)]
        model = ideal_denoiser(torch.zeros(2, 1, 2, 2))
        engine = Engine(progress=active().progress)
        list(engine.run(model, units, title="scoring", work=Work()))
"""


def on_a_terminal(project: Project, *arguments: str) -> str:
    """`pytest ...` with a terminal in the place of its output: every byte that it wrote."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", "--color=no", *arguments]
    process = subprocess.Popen(command, cwd=project.path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # Linux says so at the end
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0, seen
    return seen.decode()


@pytest.mark.parametrize("verbosity", ["-q", "-v"])
@pytest.mark.slow
def test_a_bar_is_drawn_again_while_a_test_runs(project: Project, verbosity: str) -> None:
    project.write("test_slow.py", SLOW)
    seen = on_a_terminal(project, verbosity)
    drawn = re.findall(r"\rscoring: +(\d+)%[^\r\n]*<([\d:?]+)", seen)
    assert len(drawn) >= 3
    assert [int(percent) for percent, _ in drawn] == sorted(int(percent) for percent, _ in drawn)
    assert drawn[-1][1] != "?"  # the remaining time
    assert "this is captured" not in seen
    before = seen[: seen.index("\rscoring:")]
    assert before.endswith("\n")  # the bar has a line of its own
    assert seen.index("2 passed") > seen.rindex("scoring:")


def test_many_short_bars_are_one_line_of_a_log(project: Project) -> None:
    project.write(
        "test_slow.py", SLOW.replace("0.6", "0.01").replace("list(engine.run(", "for _ in range(20): list(engine.run(")
    )
    log = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=project.path, capture_output=True, text=True
    ).stderr
    assert len(re.findall("scoring", log)) == 1, log
