"""Do two Ray workers do twice the work of one?

SecMI on 24 units of 256 drawn images with the network of `digits-release`, through the audit's own path without a
store: a Ray cluster of one worker and one of two on this machine, one thread each, in processes of their own, in turns.
Wall time of a run whose workers have started and hold the model; median of 3 each. It needs two idle cores.

Targets: two workers at least 1.7 times the throughput of one; scores equal to those of the local engine within 1e-6.

    python -m tests.benchmarks.ray_efficiency --json tests/benchmarks/results/ray_efficiency.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import torch

from pytest_diffprivacy import Auditor, load_model
from pytest_diffprivacy.engine import Engine, RayExecutor, ScoreTask, Work
from pytest_diffprivacy.membership import secmi
from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks import ROOT
from tests.benchmarks.attack_overhead import DrawnImages
from tests.benchmarks.table import Figure, arguments, conclude

MODEL = ROOT / "example_audits" / "digits-release"
UNITS, UNIT_IMAGES, REPEATS = 24, 256, 3
SHAPE = (1, 8, 8)
EFFICIENCY, EQUAL = 1.7, 1e-6


def score(workers: int) -> None:
    """Score with so many workers; print the wall time and how far the scores are from the local engine's."""
    import ray

    torch.set_num_threads(1)
    ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    engine = Engine(start=lambda: RayExecutor(None, workers))
    model: Any = load_model(str(MODEL))
    task = ScoreTask(secmi.name, secmi.version, secmi.scores, secmi.defaults)
    few = ImageSet(DrawnImages(2 * UNIT_IMAGES, SHAPE), "member")
    local = Auditor(engine=Engine()).scores(model, few, task, Work())
    far = np.abs(Auditor(engine=engine).scores(model, few, task, Work()) - local).max() / np.abs(local).max()
    many = ImageSet(DrawnImages(UNITS * UNIT_IMAGES, SHAPE), "member")
    assert len(many) == UNITS * UNIT_IMAGES  # reads and digests every image
    started = time.perf_counter()
    Auditor(engine=engine).scores(model, many, task, Work())
    taken = time.perf_counter() - started
    ray.shutdown()
    print(json.dumps([taken, float(far)]))


def measured(workers: int) -> tuple[float, float]:
    """Seconds and the largest relative difference of a score, in a process of its own."""
    code = f"from tests.benchmarks.ray_efficiency import score; score({workers})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    taken, far = json.loads(result.stdout.splitlines()[-1])
    print(f"{workers} workers: {taken:.2f} s", file=sys.stderr, flush=True)
    return taken, far


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    if find_spec("ray") is None:
        raise SystemExit("needs Ray: pip install 'pytest-diffprivacy[ray]'")
    pairs = [(measured(1), measured(2)) for _ in range(REPEATS)]
    one, two = median(one for (one, _), _ in pairs), median(two for _, (two, _) in pairs)
    ratio = median(one / two for (one, _), (two, _) in pairs)
    far = max(far for pair in pairs for _, far in pair)
    rows = [
        {"workers": workers, "seconds": taken, "images a second": UNITS * UNIT_IMAGES / taken}
        for workers, taken in ((1, one), (2, two))
    ]
    figures = [
        Figure("throughput of two Ray workers over one's", ratio, EFFICIENCY, "at least"),
        Figure("largest difference of a score to the local engine's, relative", far, EQUAL),
    ]
    columns = ("workers", "seconds", "images a second")
    return conclude(__doc__ or "", columns, rows, {}, json_path=given.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
