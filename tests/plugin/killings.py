"""An audit of 200 units that is killed again and again, each time at another moment; run as a program of its own.

A warmed-up process forks every attempt, so that thirty of them cost the imports of one. Prints one line of JSON a run:
how it ended, and the units that it began to compute.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytest_diffprivacy import Auditor, Verdict
from pytest_diffprivacy.audit import Claim, Findings, Subject
from pytest_diffprivacy.engine import Engine, Unit
from pytest_diffprivacy.evidence import RunFolder, Store
from pytest_diffprivacy.membership import loss_scores
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import RateEstimate, rate

UNITS, EACH, KILLINGS = 200, 2, 30
SENTENCE = "At most half of the images have a loss above the median of 0.5"


class Killer:
    """Kills its process some function calls after the begin of a unit: anywhere in computing, storing, recording."""

    def __init__(self, unit: int, calls: int) -> None:
        self.unit, self.calls = unit, calls

    def begin(self) -> None:
        """A unit begins."""
        self.unit -= 1
        if self.unit == 0:
            sys.setprofile(self._count)

    def _count(self, *event: Any) -> None:
        self.calls -= 1
        if self.calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def audit(root: Path, run_id: str, log: int, killer: Killer) -> None:
    """The audit; what it begins to compute is written to the log."""
    images = ImageSet.of(np.random.default_rng(3).random((UNITS * EACH, 1, 4, 4)).astype(np.float32), "member")
    model = ideal_denoiser(torch.from_numpy(images.load(range(50))))

    def part(number: int) -> Unit:
        def compute(model: Any, batch_size: int) -> Any:
            os.write(log, f"{number} ".encode())
            killer.begin()
            chosen = torch.from_numpy(images.load(range(EACH * number, EACH * (number + 1))))
            return {"scores": loss_scores(model, chosen, draws=1, seed=7)}

        return Unit(f"part {number}", {"method": "loss", "part": number}, compute, EACH)

    run = RunFolder(root, run_id)
    judge = Auditor(engine=Engine(Store(root), run), run=run)

    def measure(findings: Findings) -> RateEstimate:
        units = [part(number) for number in range(UNITS)]
        parts = judge.engine.run(model, units, title="loss", work=findings.work)
        scores = np.concatenate([arrays["scores"] for arrays in parts])
        findings.arrays["scores"] = scores
        return rate(int((scores > np.median(scores)).sum()), len(scores), confidence=0.95)

    headlines = {verdict: verdict.value for verdict in Verdict}
    claim = Claim(kind="membership", slug="rate", sentence=SENTENCE, limit=0.6, headlines=headlines, confidence=0.95)
    judge.judge(claim, Subject(model=model.identity), measure)


def attempt(root: Path, run_id: str, killer: Killer) -> dict[str, Any]:
    """One run in a process of its own: its exit code, negative for a signal, and the units that it began."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        audit(root, run_id, write, killer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as log:
        begun = [int(number) for number in log.read().split()]
    return {"run": run_id, "ended": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "begun": begun}


def main(root: Path) -> None:
    """An uninterrupted run, thirty that are killed, and one that may finish."""
    torch.set_num_threads(1)
    never = 10**9
    print(json.dumps(attempt(root / "whole", "whole", Killer(never, never))), flush=True)
    draws = np.random.default_rng(12)
    for number in range(KILLINGS):
        killer = Killer(int(draws.integers(1, 12)), int(draws.integers(0, 1500)))
        print(json.dumps(attempt(root / "killed", f"killed {number:02}", killer)), flush=True)
    print(json.dumps(attempt(root / "killed", "last", Killer(never, never))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
