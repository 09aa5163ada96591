"""Does a CUDA device find what the CPU finds, and what does the audit add there? Nothing can be said without one.

Every attack that needs no more than a denoiser, and the score norm, a derivative, score the same images with the same
network on both devices. Beside the largest deviation: seconds on each device, and the device's peak memory. Detectors,
mitigations and the search are not compared here; the search runs on the CPU.

Targets: scores within 1 % of their spread of the CPU's, in float32.

Where there is no CUDA device it says so and has no figures.

    python -m tests.benchmarks.gpu --json tests/benchmarks/results/gpu.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy import membership
from pytest_diffprivacy.models import NoiseSchedule
from pytest_diffprivacy.models.network import NetworkDenoiser
from pytest_diffprivacy.sharpness import score_norm_scores
from tests.benchmarks.table import Figure, arguments, conclude

SHAPE, COUNT, TOLERANCE = (3, 16, 16), 64, 0.01
ATTACKS = ("loss", "secmi", "pia", "pian", "sima", "pfami", "rediffuse")
COLUMNS = ("what", "largest deviation over the spread", "seconds on the CPU", "seconds on the device", "peak MB")


def network(device: str) -> NetworkDenoiser:
    """A small convolutional denoiser with the same weights on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(16, 16, 3, padding=1),
            torch.nn.SiLU(), torch.nn.Conv2d(16, 3, 3, padding=1),
        )  # fmt: skip

    class Denoiser(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            """The noise that is predicted."""
            return self.layers(x) + 0.5 * x

    return NetworkDenoiser(Denoiser(), NoiseSchedule.linear(), SHAPE, device=device, version="1")


def methods() -> dict[str, Callable[..., NDArray[np.float64]]]:
    """What is asked on both devices."""
    return {name: getattr(membership, f"{name}_scores") for name in ATTACKS} | {"score norm": score_norm_scores}


def compared(device: str, count: int = COUNT) -> list[dict[str, Any]]:
    """A row for each method, on the CPU and on the device."""
    images = torch.rand((count, *SHAPE), generator=torch.Generator().manual_seed(2))
    models = [network("cpu"), network(device)]
    rows = []
    for name, method in methods().items():
        found, seconds = [], []
        for model in models:
            method(model, images[:2], batch_size=2)  # the first call starts the kernels
            if model.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(model.device)
            started = time.perf_counter()
            found.append(method(model, images, batch_size=count))  # its scores are on the CPU: nothing is left to wait
            seconds.append(time.perf_counter() - started)
        peak = torch.cuda.max_memory_allocated(models[1].device) / 1e6 if models[1].device.type == "cuda" else 0.0
        deviation = float(np.abs(found[0] - found[1]).max() / max(float(np.ptp(found[0])), 1e-12))
        rows.append(dict(zip(COLUMNS, (name, deviation, *seconds, peak), strict=True)))
    return rows


def main() -> int:
    """Print the table, or that there is no device."""
    given = arguments(__doc__ or "").parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device on this machine: nothing was run, and nothing is known of one.")
    rows = compared("cuda")
    figures = [
        Figure(f"{row['what']}: deviation from the CPU over the spread", row[COLUMNS[1]], TOLERANCE) for row in rows
    ]
    facts = {"device": torch.cuda.get_device_name()}
    return conclude(__doc__ or "", COLUMNS, rows, {}, json_path=given.json, facts=facts, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
