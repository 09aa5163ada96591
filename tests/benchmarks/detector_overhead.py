"""What do the detectors of memorized prompts cost beyond their network evaluations?

On a text-to-image model, one thread, both sides of a ratio alternating in one process, processor time, median of pairs:

- Jeon's score of one prompt with 4 images by its default derivative, against one bare evaluation of the same 8 rows;
  forward-mode differentiation beside it.
- Its peak memory against that of a bare evaluation, each in a process of its own.
- Its relative error against a float64 forward-mode product, worst of 16 prompts.
- Ten sampling steps whose cross-attention is read in every step, against the same steps.
- A generation through the model against the bare pipeline call.

Targets: at most 4 evaluations; memory at most 2.5 times; error at most 1e-3; attention adds at most 15 %; a generation
at most 5 %.

    python -m tests.benchmarks.detector_overhead --model example_audits/emoji-leaky \
        --prompts prompts.txt --json tests/benchmarks/results/detector_overhead.json
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy.memorization import hessian_score_scores
from pytest_diffprivacy.models import StableDiffusion, guided_ddim, load_model
from pytest_diffprivacy.models.guidance import predict_pair
from pytest_diffprivacy.models.noise import prompt_noise, start_noise
from pytest_diffprivacy.probes import PromptSet
from tests.benchmarks.table import arguments, conclude

GOLDEN = Path(__file__).parents[1] / "golden" / "text_to_image" / "pipeline"
PROMPTS = [
    f"a {colour} {thing}" for colour in ("red", "blue", "old", "field") for thing in ("cat", "dog", "hat", "bird")
]
PAIRS = 15
IMAGES = 4
MEMORY_IMAGES = 32
STEPS = 10
EVALUATIONS, MEMORY, ERROR, ATTENTION, GENERATION = 4.0, 2.5, 1e-3, 1.15, 1.05


def ratio(bare: Callable[[], object], work: Callable[[], object], pairs: int = PAIRS) -> float:
    """Median over alternating pairs of the processor time of the work over that of the bare side."""
    bare(), work()  # first calls compile and allocate
    return median(seconds(work) / seconds(bare) for _ in range(pairs))


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call; other processes of the machine do not enter."""
    started = time.process_time()
    work()
    return time.process_time() - started


@torch.no_grad()
def evaluate(model: StableDiffusion, x: Tensor, prompts: list[str]) -> None:
    """One bare evaluation of both branches."""
    predict_pair(model, x, model.schedule.sampling_timesteps(50)[0], model.condition(prompts, len(x)), None)


def jeon(model: StableDiffusion, prompts: list[str], derivative: str) -> float:
    """Time of the score of one prompt over that of one bare evaluation."""
    noise = prompt_noise(prompts[:1], IMAGES, model.sample_shape, 0)
    x = noise[0].to(model.dtype)
    return ratio(
        lambda: evaluate(model, x, prompts[:1] * IMAGES),
        lambda: hessian_score_scores(model, prompts[:1], latents=noise, derivative=derivative),  # type: ignore[arg-type]
    )


def error(folder: Path, model: StableDiffusion, prompts: list[str]) -> float:
    """Worst relative error of the default score against a float64 forward-mode product."""
    exact = load_model(str(folder), dtype="float64")
    reference = hessian_score_scores(exact, prompts, images_per_prompt=IMAGES, derivative="forward")
    scores = hessian_score_scores(model, prompts, images_per_prompt=IMAGES)
    return float(np.abs(scores / reference - 1.0).max())


def attention(model: StableDiffusion, prompts: list[str]) -> float:
    """Time of sampling with cross-attention read in every step over that of sampling."""
    x = start_noise(range(IMAGES), model.sample_shape)
    told = model.condition(prompts[:1] * IMAGES, IMAGES)

    def sample() -> None:
        for _ in guided_ddim(model, x, told, steps=STEPS):
            pass

    def watched() -> None:
        walk = guided_ddim(model, x, told, steps=STEPS)
        for _ in range(STEPS):
            with model.cross_attention(maps=2) as record:
                next(walk)
            assert record.tokens.numel()

    return ratio(sample, watched)


def generation(folder: Path, model: StableDiffusion, prompts: list[str]) -> float:
    """Time of a generation through the model over that of the bare pipeline, prompts encoded anew in both."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    latents = start_noise(range(IMAGES), model.sample_shape).float()

    def bare() -> None:
        pipeline(prompt=prompts[:IMAGES], latents=latents, num_inference_steps=STEPS, output_type="pt")

    return ratio(bare, lambda: model.generate(range(IMAGES), prompts=prompts[:IMAGES], steps=STEPS))


def peak_megabytes(folder: Path, work: str) -> float:
    """Memory that a process takes for the work beyond what it held before."""
    code = f"from tests.benchmarks.detector_overhead import peak; peak({str(folder)!r}, {work!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def peak(folder: str, work: str) -> None:
    """Do the work once small and once large, and print what the large one added to this process's peak memory."""
    import resource

    torch.set_num_threads(1)
    model: Any = load_model(folder)

    def run(images: int) -> None:
        noise = prompt_noise(PROMPTS[:1], images, model.sample_shape, 0)
        if work == "evaluation":
            evaluate(model, noise[0].to(model.dtype), PROMPTS[:1] * images)
        else:
            hessian_score_scores(model, PROMPTS[:1], latents=noise)

    run(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(MEMORY_IMAGES)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, default=GOLDEN, help="folder of a StableDiffusionPipeline")
    parser.add_argument("--prompts", type=Path, help="prompts that the model knows, one a line")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = load_model(str(given.model))
    prompts = PROMPTS if given.prompts is None else PromptSet(given.prompts).texts[: len(PROMPTS)]
    memory = [peak_megabytes(given.model, work) for work in ("evaluation", "score")]
    rows: list[dict[str, Any]] = [
        {"quantity": "Jeon, n = 4, default derivative, in evaluations", "value": jeon(model, prompts, "central")},
        {"quantity": "Jeon, n = 4, forward mode, in evaluations", "value": jeon(model, prompts, "forward")},
        {"quantity": "Jeon, peak memory over an evaluation's", "value": memory[1] / memory[0], "MB": memory[1]},
        {"quantity": "Jeon, worst relative error of 16 prompts", "value": error(given.model, model, prompts)},
        {"quantity": "attention read in every step, over sampling", "value": attention(model, prompts)},
        {"quantity": "generation, over the bare pipeline", "value": generation(given.model, model, prompts)},
    ]
    value = [row["value"] for row in rows]
    targets = {
        f"Jeon's score costs at most {EVALUATIONS:g} evaluations": value[0] <= EVALUATIONS,
        f"peak memory at most {MEMORY:g} times an evaluation's": value[2] <= MEMORY,
        f"relative error at most {ERROR:g}": value[3] <= ERROR,
        "attention adds at most 15 %": value[4] <= ATTENTION,
        "a generation costs at most 5 % more than the pipeline's": value[5] <= GENERATION,
    }
    facts = {"model": given.model.name, "digest": model.identity.digest}
    columns = ("quantity", "value", "MB")
    return conclude(__doc__ or "", columns, rows, targets, json_path=given.json, facts=facts)


if __name__ == "__main__":
    sys.exit(main())
