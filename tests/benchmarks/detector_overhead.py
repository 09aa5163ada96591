"""Does a detector of memorized prompts cost more than its network evaluations, and where does the rest go?

Every detector on `emoji-release`, 16 prompts with 4 images each (batch 64), walks of 4 steps, one thread: its
processor time against the bare network evaluations that it declares, at the same batch, and its own calls of the
autoencoder and the text encoder, in one process, alternating, median of 5. One more run, watched, says where its time
goes. Then 4 sampling steps of 4 images whose cross-attention is read in every step, against the same steps.

Targets: every detector at most 1.05; reading attention at most 1.15.

    python -m tests.benchmarks.detector_overhead --json tests/benchmarks/results/detector_overhead.json
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from pytest_diffprivacy import load_model
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.memorization.detector import Detector
from pytest_diffprivacy.models.ddim import guided_ddim
from pytest_diffprivacy.models.noise import start_noise
from tests.benchmarks.networks import DENOISER, bare_evaluations, example_pipeline, networks_of, shares, watched
from tests.benchmarks.table import Figure, arguments, conclude
from tests.benchmarks.timing import compared, seconds

MODEL = "emoji-release"
PROMPTS = [
    f"a {colour} {thing}" for colour in ("red", "blue", "old", "field") for thing in ("cat", "dog", "hat", "bird")
]
IMAGES, STEPS = 4, 4
LIMIT, ATTENTION, ATTENTION_PAIRS = 1.05, 1.15, 15
PARAMETERS: dict[str, dict[str, Any]] = {"attention_entropy": {"last": 1}}
COLUMNS = ("detector", "evaluations", "counted", "bare s", "detector s", "ratio",
           "network %", "other networks %", "rest %")  # fmt: skip


def detector_row(detector: Detector, model: Any, networks: dict[str, torch.nn.Module]) -> dict[str, Any]:
    """A detector beside its evaluations, in evaluations of one branch for an image."""
    asked = detector(**PARAMETERS.get(detector.name, {}))
    declared, images = asked.cost(STEPS), len(PROMPTS) * IMAGES

    def scored() -> None:
        arrays = watch_prompts(model, PROMPTS, {detector.name: asked}, PromptSampling(IMAGES, STEPS), batch_size=images)
        asked.scores(arrays[detector.name])

    scored()  # encodes the prompts, which stay encoded
    with watched(networks) as calls:
        total = seconds(scored)
    found = compared(bare_evaluations(networks, calls, rows=declared * images), scored)
    return {
        "detector": detector.title,
        "evaluations": declared,
        "counted": round(calls[DENOISER].rows / images, 2),
        "bare s": found.bare,
        "detector s": found.work,
        "ratio": round(found.ratio, 3),
        **shares(calls, total),
    }


def attention_row(model: Any) -> dict[str, Any]:
    """Sampling with cross-attention read in every step beside sampling."""
    x = start_noise(range(IMAGES), model.sample_shape)
    told = model.condition(PROMPTS[:1] * IMAGES, IMAGES)

    def sample() -> None:
        for _ in guided_ddim(model, x, told, steps=STEPS):
            pass

    def read() -> None:
        walk = guided_ddim(model, x, told, steps=STEPS)
        for _ in range(STEPS):
            with model.cross_attention(maps=2) as record:
                next(walk)
            assert record.tokens.numel()

    found = compared(sample, read, ATTENTION_PAIRS)
    return {
        "detector": f"attention read in every step, {IMAGES} images",
        "evaluations": 2 * STEPS,
        "bare s": found.bare,
        "detector s": found.work,
        "ratio": round(found.ratio, 3),
    }


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    pipeline = example_pipeline(MODEL)
    model: Any = load_model(pipeline)
    networks = networks_of(pipeline)
    rows = []
    for detector in DETECTORS.values():
        rows.append(detector_row(detector, model, networks))
        print(rows[-1], file=sys.stderr, flush=True)
    figures = [Figure(f"{row['detector']}: time over its evaluations'", row["ratio"], LIMIT) for row in rows]
    rows.append(attention_row(model))
    figures.append(Figure("sampling with attention read in every step, over sampling", rows[-1]["ratio"], ATTENTION))
    facts = {"model": MODEL, "digest": model.identity.digest, "steps": STEPS, "images": len(PROMPTS) * IMAGES}
    return conclude(__doc__ or "", COLUMNS, rows, {}, json_path=given.json, facts=facts, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
