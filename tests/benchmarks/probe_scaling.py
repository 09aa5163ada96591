"""Does an audit's cost grow exactly as its probes do, and its memory not at all?

Loss, SecMI and PIA score 500 to 50,000 drawn images of 1x8x8 pixels through the audit's own path: a streamed image set,
units of 256 images, a store. The model is small on purpose (an analytic denoiser of four images), so that what is not
the network counts. Each number of probes in a process of its own, processor time, best of three; slope of the time on
log axes by least squares; peak memory of the processes.

Targets: every slope within 0.05 of 1; the largest peak at most 10 % above the smallest.

    python -m tests.benchmarks.probe_scaling --json tests/benchmarks/results/probe_scaling.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytest_diffprivacy import Auditor
from pytest_diffprivacy.engine import Engine, ScoreTask, Work
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.models.analytic import AnalyticDenoiser
from pytest_diffprivacy.models.densities import FiniteData
from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks.attack_overhead import DrawnImages
from tests.benchmarks.resident import peak_resident
from tests.benchmarks.table import Figure, arguments, conclude
from tests.benchmarks.timing import seconds

NAMES = ("loss", "secmi", "pia")
COUNTS = (500, 1_500, 5_000, 15_000, 50_000)
SHAPE = (1, 8, 8)
REPEATS = 3
SLOPE, MEMORY = 0.05, 1.10


def score(name: str, count: int) -> None:
    """Score so many images; print the seconds that it took and this process's peak memory in megabytes."""
    torch.set_num_threads(1)
    data = torch.rand(4, int(np.prod(SHAPE)), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    model, attack = AnalyticDenoiser(FiniteData(data), SHAPE), ATTACKS[name]
    task = ScoreTask(attack.name, attack.version, attack.scores, attack.defaults)

    def audit(images: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            judge = Auditor(engine=Engine(Store(Path(folder))))
            judge.scores(model, ImageSet(DrawnImages(images, SHAPE), "member"), task, Work())

    audit(256)  # first calls load and allocate
    taken = seconds(lambda: audit(count))
    print(json.dumps([taken, peak_resident() / 1e6]))


def measured(name: str, count: int) -> tuple[float, float]:
    """Seconds, the best of three, and megabytes, the most of three."""
    code = f"from tests.benchmarks.probe_scaling import score; score({name!r}, {count})"
    runs = []
    for _ in range(REPEATS):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        runs.append(json.loads(result.stdout.splitlines()[-1]))
    print(f"{name}, {count}: {min(taken for taken, _ in runs):.3f} s", file=sys.stderr, flush=True)
    return min(taken for taken, _ in runs), max(peak for _, peak in runs)


def slope(counts: tuple[int, ...], taken: list[float]) -> float:
    """Of the time against the number of probes, on log axes."""
    return float(np.polyfit(np.log(counts), np.log(taken), 1)[0])


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows: list[dict[str, Any]] = []
    figures = []
    for name in NAMES:
        found = [measured(name, count) for count in COUNTS]
        taken, peaks = [seconds for seconds, _ in found], [peak for _, peak in found]
        title = ATTACKS[name].title
        rows += [
            {"attack": title, "probes": count, "seconds": t, "ms a probe": 1e3 * t / count, "peak MB": peak}
            for count, t, peak in zip(COUNTS, taken, peaks, strict=True)
        ]
        steepness = slope(COUNTS, taken)
        figures += [
            Figure(f"{title}: slope of time against probes, log axes", steepness, 1.0 - SLOPE, "at least"),
            Figure(f"{title}: slope of time against probes, log axes", steepness, 1.0 + SLOPE),
            Figure(f"{title}: largest peak memory over the smallest", max(peaks) / min(peaks), MEMORY),
        ]
    columns = ("attack", "probes", "seconds", "ms a probe", "peak MB")
    return conclude(__doc__ or "", columns, rows, {}, json_path=given.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
