"""Does an attack cost more than its network evaluations?

For each grey-box attack of k evaluations an image: its time against k bare batched evaluations of the same network,
batch 64, in one process, alternating, median of 5. And the peak memory of scoring 1,000 and 5,000 images.

Targets: every ratio at most 1.05; the peak over 5,000 images at most 32 MB above that over 1,000.

    python -m tests.benchmarks.attack_overhead --json tests/benchmarks/results/attack_overhead.json
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy import Auditor
from pytest_diffprivacy.engine import Ledger, ScoreTask
from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.models import FiniteData, PixelDiffusion
from pytest_diffprivacy.models.analytic import AnalyticDenoiser
from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks.table import arguments, conclude

BATCH = 64
IMAGES = 64
REPEATS = 5
LIMIT = 1.05
MEMORY_LIMIT = 32.0
SIDE = 16
PARAMETERS: dict[str, dict[str, Any]] = {"drc": {"restorations": 1, "steps": 10}}


def network() -> tuple[Any, PixelDiffusion]:
    """A network large enough for its evaluations to be the work: 0.63 million parameters at 16x16 pixels."""
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
        add_attention=False,
    )
    return unet, PixelDiffusion(unet, DDPMScheduler())


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def overhead() -> list[dict[str, Any]]:
    """A line an attack."""
    unet, model = network()
    images = torch.rand(IMAGES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rows = []
    for attack in ATTACKS.values():
        if attack.needs_prompts:
            continue
        chosen = {**attack.defaults, **PARAMETERS.get(attack.name, {})}
        count = attack.evaluations(chosen)

        def bare(count: int = count) -> None:
            with torch.no_grad():
                for batch in images.split(BATCH):
                    x = batch * 2.0 - 1.0
                    for _ in range(count):
                        unet(x, 100, return_dict=False)

        def scored(attack: Any = attack, chosen: Any = chosen) -> None:
            attack.scores(model, images, batch_size=BATCH, **chosen)

        seconds(bare)
        pairs = [(seconds(bare), seconds(scored)) for _ in range(REPEATS)]
        one, other = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
        ratio = median(pair[1] / pair[0] for pair in pairs)
        rows.append(
            {"attack": attack.title, "evaluations": count, "bare s": one, "attack s": other, "ratio": round(ratio, 3)}
        )
        print(f"{attack.name}: {ratio:.3f}", file=sys.stderr, flush=True)
    return rows


class DrawnImages:
    """Images that are drawn when they are read, so that only what is held counts."""

    origin = "drawn"

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """Number of the image."""
        return f"image {index}"

    def read(self, index: int) -> NDArray[np.float32]:
        """A random image of 3x64x64 pixels."""
        return np.random.default_rng(index).random((3, 64, 64), dtype=np.float32)


def peak_megabytes(count: int) -> float:
    """Peak memory of a process that scores so many images with PIA through the audit's own path."""
    code = f"from tests.benchmarks.attack_overhead import score_stream; score_stream({count})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(result.stdout)


def score_stream(count: int) -> None:
    """Score and print this process's peak memory in megabytes."""
    model = AnalyticDenoiser(FiniteData(torch.zeros(2, 3 * 64 * 64)), (3, 64, 64))
    task = ScoreTask("pia", 1, ATTACKS["pia"].scores, ATTACKS["pia"].defaults)
    Auditor().scores(model, ImageSet(DrawnImages(count), "member"), task, Ledger())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows = overhead()
    small, large = peak_megabytes(1000), peak_megabytes(5000)
    rows.append({"attack": "peak memory, 1,000 and 5,000 images (MB)", "bare s": small, "attack s": large})
    targets = {f"{row['attack']}: ratio at most {LIMIT}": row["ratio"] <= LIMIT for row in rows if "ratio" in row}
    targets[f"peak memory grows by at most {MEMORY_LIMIT:g} MB"] = large - small <= MEMORY_LIMIT
    columns = ("attack", "evaluations", "bare s", "attack s", "ratio")
    return conclude(__doc__ or "", columns, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
