"""Does a membership attack cost more than its network evaluations, and where does the rest go?

Every attack of k evaluations an image, and those with a frequency filter, a latent-dimension mask (whose ranking of the
dimensions is known from the first call) and sampled ranges, on the release models of the example audits (digits; emoji
in latent space, with prompts), batch 64, one thread: its processor time against k bare evaluations of the same network
at batch 64 and the attack's own calls of the autoencoder and the text encoder, in one process, alternating, median of
5. Each attack has a process of its own: what those before it leave in the heap moves a ratio by some hundredths. One
more run, watched, says where its time goes. Restorations, PFAMI's crops and black-box generations are fewer than by
default. And the peak memory of scoring 1,000 and 5,000 images.

Targets: every ratio at most 1.05; no attack evaluates the network more often than it declares; the peak over 5,000
images at most 32 MB above that over 1,000.

    python -m tests.benchmarks.attack_overhead --json tests/benchmarks/results/attack_overhead.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy import Auditor, load_model
from pytest_diffprivacy.engine import ScoreTask, Work
from pytest_diffprivacy.membership import ATTACKS, Attack, FrequencyFilter, LatentMask, range_attack
from pytest_diffprivacy.membership.pfami import STRENGTHS, TIMESTEPS
from pytest_diffprivacy.models.analytic import AnalyticDenoiser
from pytest_diffprivacy.models.densities import FiniteData
from pytest_diffprivacy.probes import ImageSet
from tests.benchmarks.networks import DENOISER, bare_evaluations, example_pipeline, networks_of, shares, watched
from tests.benchmarks.resident import peak_resident
from tests.benchmarks.table import Figure, arguments, conclude
from tests.benchmarks.timing import compared, seconds

MODELS = ("digits-release", "emoji-release")
BATCH = 64
LIMIT = 1.05
MEMORY_LIMIT = 32.0
PARAMETERS: dict[str, dict[str, Any]] = {
    "drc": {"restorations": 1, "steps": 10},
    "pfami": {"timesteps": TIMESTEPS[:2], "strengths": STRENGTHS[:4]},
    "reconstruction": {"generations": 1, "steps": 10},
}
FILTERED: dict[str, Any] = {"frequency_filter": FrequencyFilter(band=0.5)}
MASKED: dict[str, Any] = {"latent_mask": LatentMask()}
COLUMNS = ("model", "attack", "evaluations", "counted", "bare s", "attack s", "ratio",
           "network %", "other networks %", "rest %")  # fmt: skip


def candidates() -> dict[str, tuple[Attack, dict[str, Any]]]:
    """Each attack and form of one, with the parameters that differ from its defaults."""
    plain = {name: (attack, PARAMETERS.get(name, {})) for name, attack in ATTACKS.items()}
    filtered = {f"{name}, filtered": (ATTACKS[name], FILTERED) for name in ("loss", "secmi", "pia", "clid")}
    masked = {f"{name}, masked": (ATTACKS[name], MASKED) for name in ("loss", "secmi", "pia", "sima")}
    return {**plain, **filtered, **masked, "pia, ranges": (range_attack("pia", samples=2), {})}


def asked_of(name: str) -> list[str]:
    """The attacks that a model can be asked with."""
    texts = name.startswith("emoji")
    return [
        label
        for label, (attack, more) in candidates().items()
        if texts or not (attack.needs_prompts or "latent_mask" in more)
    ]


def row_in_process(asked: tuple[str, str]) -> dict[str, Any]:
    """The line of (model, attack), measured in a process of its own."""
    code = f"from tests.benchmarks.attack_overhead import print_row; print_row(*{asked!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    print(row, file=sys.stderr, flush=True)
    return row


def print_row(name: str, attack: str) -> None:
    """Measure one attack on one model and print its line as JSON."""
    torch.set_num_threads(1)
    pipeline = example_pipeline(name)
    model, networks = load_model(pipeline), networks_of(pipeline)
    images = torch.rand(BATCH, *model.image_shape, generator=torch.Generator().manual_seed(0))
    texts = "text_encoder" in networks
    prompts = [f"picture {number} of a cat and a red hat" for number in range(BATCH)] if texts else None
    row = attack_row(candidates()[attack], model, networks, images, prompts)
    form = attack.partition(", ")[2]
    print(json.dumps({"model": name, **row, "attack": f"{row['attack']}, {form}" if form else row["attack"]}))


def attack_row(
    asked: tuple[Attack, dict[str, Any]],
    model: Any,
    networks: dict[str, torch.nn.Module],
    images: torch.Tensor,
    prompts: list[str] | None,
) -> dict[str, Any]:
    """An attack beside its evaluations."""
    attack, more = asked
    chosen = {**attack.defaults, **more}
    declared = attack.evaluations(chosen)

    def scored() -> None:
        attack.scores(model, images, prompts=prompts, batch_size=BATCH, **chosen)

    scored()  # encodes the prompts, which stay encoded
    with watched(networks) as calls:
        total = seconds(scored)
    found = compared(bare_evaluations(networks, calls, rows=declared * BATCH), scored)
    return {
        "attack": attack.title,
        "evaluations": declared,
        "counted": calls[DENOISER].rows / BATCH,
        "bare s": found.bare,
        "attack s": found.work,
        "ratio": round(found.ratio, 3),
        **shares(calls, total),
    }


class DrawnImages:
    """Images that are drawn when they are read, so that only what is held counts."""

    origin = "drawn"

    def __init__(self, count: int, shape: tuple[int, int, int] = (3, 64, 64)) -> None:
        self._count, self._shape = count, shape

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """Number of the image."""
        return f"image {index}"

    def read(self, index: int) -> NDArray[np.float32]:
        """A random image."""
        return np.random.default_rng(index).random(self._shape, dtype=np.float32)


def peak_megabytes(count: int) -> float:
    """Peak memory of a process that scores so many images with PIA through the audit's own path.

    Large arrays are given back to the system as soon as they are freed: what glibc keeps for later by default differs
    by 60 MB from run to run, and is no smaller for fewer images.
    """
    code = f"from tests.benchmarks.attack_overhead import score_stream; score_stream({count})"
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return float(result.stdout)


def score_stream(count: int) -> None:
    """Score and print this process's peak memory in megabytes."""
    model = AnalyticDenoiser(FiniteData(torch.zeros(2, 3 * 64 * 64)), (3, 64, 64))
    task = ScoreTask("pia", 1, ATTACKS["pia"].scores, ATTACKS["pia"].defaults)
    Auditor().scores(model, ImageSet(DrawnImages(count), "member"), task, Work())
    print(peak_resident() / 1e6)


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--at-once", type=int, default=1, help="processes side by side, each on a core of its own")
    given = parser.parse_args()
    asked = [(name, attack) for name in MODELS for attack in asked_of(name)]
    with ThreadPoolExecutor(given.at_once) as pool:
        rows = list(pool.map(row_in_process, asked))
    small, large = peak_megabytes(1000), peak_megabytes(5000)
    figures = [
        Figure(f"{row['attack']}, {row['model']}: time over its evaluations'", row["ratio"], LIMIT) for row in rows
    ]
    figures.append(Figure("peak of 5,000 images above that of 1,000, MB", large - small, MEMORY_LIMIT))
    targets = {"no attack evaluates more than it declares": all(row["counted"] <= row["evaluations"] for row in rows)}
    facts = {"peak MB of 1,000 images": small, "peak MB of 5,000 images": large}
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json, facts=facts, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
