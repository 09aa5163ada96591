"""What does the product of the Hessian with the score difference cost, in time, memory and accuracy?

Jeon's score of one prompt with 4 images on a text-to-image model, one thread, processor time: by its default derivative
(central differences) and by forward-mode differentiation, against one bare evaluation of the same 8 rows, alternating
in one process, median of pairs. Peak bytes of the tensors alive with 32 images, against those of a bare evaluation;
kernels' workspaces are not in them. Relative error against a float64 forward-mode product, worst of 16 prompts.

Targets for the default: at most 4 evaluations; memory at most 2.5 times; error at most 1e-3. Forward mode is shown.

    python -m tests.benchmarks.jvp_cost --json tests/benchmarks/results/jvp_cost.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy import load_model
from pytest_diffprivacy.engine.batches import peak_bytes
from pytest_diffprivacy.memorization import hessian_score_scores
from pytest_diffprivacy.models.ddim import predict_pair
from pytest_diffprivacy.models.noise import prompt_noise
from tests.benchmarks import ROOT
from tests.benchmarks.detector_overhead import IMAGES, MODEL, PROMPTS
from tests.benchmarks.table import Figure, arguments, conclude
from tests.benchmarks.timing import compared

PAIRS = 15
MEMORY_IMAGES = 32
EVALUATIONS, MEMORY, ERROR = 4.0, 2.5, 1e-3
COLUMNS = ("derivative", "evaluations", "bare s", "score s", "peak MB", "memory", "worst error")


@torch.no_grad()
def evaluate(model: Any, x: Tensor, prompts: list[str]) -> None:
    """One bare evaluation of both branches."""
    predict_pair(model, x, model.schedule.sampling_timesteps(50)[0], model.condition(prompts, len(x)), None)


def jeon(folder: Path, model: Any, derivative: str) -> dict[str, Any]:
    """Time, memory and error of the score by one derivative."""
    noise = prompt_noise(PROMPTS[:1], IMAGES, model.sample_shape, 0)
    x = noise[0].to(model.dtype)
    found = compared(
        lambda: evaluate(model, x, PROMPTS[:1] * IMAGES),
        lambda: hessian_score_scores(model, PROMPTS[:1], latents=noise, derivative=derivative),  # type: ignore[arg-type]
        PAIRS,
    )
    taken, bare = peaks(model, derivative)
    return {
        "derivative": derivative,
        "evaluations": found.ratio,
        "bare s": found.bare,
        "score s": found.work,
        "peak MB": taken / 1e6,
        "memory": taken / bare,
        "worst error": error(folder, model, derivative),
    }


def error(folder: Path, model: Any, derivative: str) -> float:
    """Worst relative error of the scores against a float64 forward-mode product."""
    exact = load_model(str(folder), dtype="float64")
    reference = hessian_score_scores(exact, PROMPTS, images_per_prompt=IMAGES, derivative="forward")
    scores = hessian_score_scores(model, PROMPTS, images_per_prompt=IMAGES, derivative=derivative)  # type: ignore[arg-type]
    return float(np.abs(scores / reference - 1.0).max())


def peaks(model: Any, derivative: str) -> tuple[float, float]:
    """Peak bytes of the tensors that the score holds, and that a bare evaluation of the same images does."""
    noise = prompt_noise(PROMPTS[:1], MEMORY_IMAGES, model.sample_shape, 0)
    score = peak_bytes(
        lambda: hessian_score_scores(model, PROMPTS[:1], latents=noise, derivative=derivative)  # type: ignore[arg-type]
    )
    return score, peak_bytes(lambda: evaluate(model, noise[0].to(model.dtype), PROMPTS[:1] * MEMORY_IMAGES))


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, default=ROOT / "example_audits" / MODEL, help="a text-to-image pipeline")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = load_model(str(given.model), dtype="float32")
    rows = [jeon(given.model, model, derivative) for derivative in ("central", "forward")]
    default = rows[0]
    figures = [
        Figure("Jeon's score by its default derivative, in evaluations", default["evaluations"], EVALUATIONS),
        Figure("its peak memory over an evaluation's", default["memory"], MEMORY),
        Figure("its worst relative error of 16 prompts", default["worst error"], ERROR),
    ]
    facts = {"model": given.model.name, "digest": model.identity.digest}
    return conclude(__doc__ or "", COLUMNS, rows, {}, json_path=given.json, facts=facts, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
