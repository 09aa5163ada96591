"""Thirty SIGKILLs over an audit of 200 units: at most one unit is repeated each time, and the record is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.cache import damaged, entries
from tests.plugin.killings import KILLINGS, UNITS


@pytest.mark.slow
def test_an_audit_that_is_killed_thirty_times_ends_like_one_that_never_was(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.plugin.killings", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    whole, *killed, last = map(json.loads, done.stdout.splitlines())
    assert (whole["ended"], whole["begun"]) == (0, [*range(UNITS)])
    assert [run["ended"] for run in killed] == [-9] * KILLINGS
    begun: set[int] = set()
    for run in (*killed, last):
        assert len(begun & set(run["begun"])) <= 1, run
        assert len(run["begun"]) == len(set(run["begun"]))
        begun |= set(run["begun"])
    assert last["ended"] == 0
    assert begun == {*range(UNITS)}
    one, other = (RunFolder(tmp_path / name, run) for name, run in (("whole", "whole"), ("killed", "last")))
    (first,), (second,) = one.claims(), other.claims()
    assert first.verdict == "PASS"
    assert second.model_dump(exclude={"work", "artifacts"}) == first.model_dump(exclude={"work", "artifacts"})
    assert second.artifacts[0].sha256 == first.artifacts[0].sha256
    assert second.work.units_computed + second.work.units_reused == UNITS
    kept = entries(tmp_path / "killed")
    assert len(kept) == UNITS
    assert not any(problem for _, problem in damaged(kept))
