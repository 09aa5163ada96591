"""Runs that are killed at a drawn moment, beside the report of an earlier run that was a PASS.

The moment is some time after the start, or after the n-th claim of the run was recorded: a machine's speed does not
decide what is hit. What remains is asked as a gate asks it: pytest's exit code, `verify` and `verdict`.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

AUDITS, SIGNALS, PATIENCE = 4, (signal.SIGKILL, signal.SIGTERM, signal.SIGINT), 120.0
FILE = f"""
    import time
    import numpy as np
    import pytest
    from pytest_diffprivacy import assert_mia_tpr_below

    SCORES = [np.random.default_rng(seed).normal(size=400) for seed in (1, 2)]

    @pytest.mark.parametrize("number", range({AUDITS}))
    def test_holds(number):
        time.sleep(0.3)
        assert_mia_tpr_below(*SCORES, max_fpr=0.05, limit=0.2)
"""


@dataclass(frozen=True)
class Killed:
    """What one run left.

    Attributes:
        signal: what it was sent.
        hit: what it did at that moment: "nothing yet", "loading", "judging" or "over".
        exit_code: of pytest.
        claims: how many claims it had recorded in the end.
        report: "none", "earlier" or the verdict of its own.
        complete: whether its own record names every audit as judged.
        released: whether exit code, `verify` and `verdict` let it pass.
    """

    signal: str
    hit: str
    exit_code: int
    claims: int
    report: str
    complete: bool
    released: bool

    @property
    def wrong(self) -> str:
        """What may not be; "" where all is well."""
        if self.released and not (self.complete and self.exit_code == 0):
            return "released although it was not judged as a whole"
        if self.report == "PASS" and not self.complete:
            return "a PASS that was not earned"
        if self.report == "earlier" and self.hit != "nothing yet":
            return "the earlier report stands although the run had begun"
        return ""


class Killings:
    """A project, the report of its first run, and runs of it that are killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self._draws = folder, random.Random(seed)
        self.report, self._runs = folder / "audit.json", folder / ".diffprivacy" / "runs"
        (folder / "test_a.py").write_text(textwrap.dedent(FILE))
        (folder / "pytest.ini").write_text("[pytest]\n")
        self._start(()).wait(PATIENCE)
        self.earlier = self.report.read_bytes()
        assert json.loads(self.earlier)["verdict"] == "PASS"

    def kill(self, number: int, options: tuple[str, ...] = ()) -> Killed:
        """Run once and kill it; the number decides by which signal, and whether by time or by what is recorded."""
        self.report.write_bytes(self.earlier)
        known, sent = set(self._runs.iterdir()), SIGNALS[number % len(SIGNALS)]
        by_time = number % 5 == 4
        claims, pause = self._draws.randint(-1, AUDITS), self._draws.uniform(0.0, 0.4)
        began = time.monotonic()
        with self._start(options) as run:
            while run.poll() is None and time.monotonic() < began + PATIENCE:
                if by_time or self._reached(known, claims):
                    time.sleep(2.0 * pause if by_time else pause)
                    break
                time.sleep(0.002)
            hit = self._doing(run, known)
            run.send_signal(sent)
            exit_code = run.wait(PATIENCE)
        return self._left(sent.name, hit, exit_code, known)

    def _start(self, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pytest", "-q", "--diffprivacy-report=audit.json", *options]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )

    def _reached(self, known: set[Path], claims: int) -> bool:
        """Whether the report was taken away (-1), the run has a folder (0), or so many claims."""
        if claims < 0:
            return not self.report.exists()
        return any(_claims(run) >= claims for run in set(self._runs.iterdir()) - known)

    def _doing(self, run: subprocess.Popen[bytes], known: set[Path]) -> str:
        if run.poll() is not None:
            return "over"
        if set(self._runs.iterdir()) - known:
            return "judging"
        return "nothing yet" if self.report.exists() else "loading"

    def _left(self, sent: str, hit: str, exit_code: int, known: set[Path]) -> Killed:
        report, complete, own = "none", False, {path.name for path in set(self._runs.iterdir()) - known}
        if self.report.exists():
            written = json.loads(self.report.read_bytes())
            report = written["verdict"] if written["run_id"] in own else "earlier"
            complete = report != "earlier" and len(written["claims"]) == AUDITS and not written["missing"]
        gate = [[sys.executable, "-m", "pytest_diffprivacy", what, "audit.json"] for what in ("verify", "verdict")]
        released = exit_code == 0 and all(
            subprocess.run(command, cwd=self.folder, capture_output=True, check=False).returncode == 0
            for command in gate
        )
        claims = sum(_claims(self._runs / name) for name in own)
        return Killed(sent, hit, exit_code, claims, report, complete, released)


def _claims(run: Path) -> int:
    return sum(1 for _ in (run / "claims").iterdir()) if (run / "claims").is_dir() else 0
