"""Does generating through the audit cost more than the pipeline itself?

For an unconditional DDIM pipeline and a text-to-image pipeline (`emoji-release`, or `--pipeline`, a diffusers folder,
with `--prompt`): the bare diffusers pipeline against `Auditor.generations` with its store, for the same number of
images, steps and batch, one thread, processor time, in one process, alternating, median of the ratios.

Target: every ratio at most 1.05.

    python -m tests.benchmarks.generation_overhead --json tests/benchmarks/results/generation_overhead.json
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from pytest_diffprivacy import Auditor, load_model
from pytest_diffprivacy.engine import Engine, Work
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.models import Generator
from tests.benchmarks import ROOT
from tests.benchmarks.table import Figure, arguments, conclude
from tests.benchmarks.timing import compared

IMAGES, STEPS, BATCH = 64, 20, 32
LIMIT = 1.05


def unconditional() -> Any:
    """A DDIM pipeline large enough for its network to be the work: 0.63 million parameters at 3x16x16 pixels."""
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
        add_attention=False,
    )
    pipeline = DDIMPipeline(unet=unet.eval(), scheduler=DDIMScheduler(clip_sample=False))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def audited(model: Generator, seed: int, prompt: str | None) -> None:
    """Generate through the audit, with a store, as a run does."""
    with tempfile.TemporaryDirectory() as folder:
        judge = Auditor(seed=seed, engine=Engine(Store(Path(folder)), batch_size=BATCH))
        guidance = None if prompt is None else 1.0
        for _ in judge.generations(model, IMAGES, steps=STEPS, work=Work(), prompt=prompt, guidance_scale=guidance):
            pass


def bare(pipeline: Any, seed: int, prompt: str | None) -> None:
    """The same by the pipeline alone."""
    for start in range(0, IMAGES, BATCH):
        noise = torch.Generator().manual_seed(seed * IMAGES + start)
        if prompt is None:
            pipeline(batch_size=BATCH, num_inference_steps=STEPS, generator=noise, output_type="np")
        else:
            pipeline([prompt] * BATCH, num_inference_steps=STEPS, guidance_scale=1.0, generator=noise, output_type="np")


def line(name: str, pipeline: Any, prompt: str | None) -> dict[str, Any]:
    """One line of the table."""
    model, seeds = load_model(pipeline), iter(range(1_000))
    found = compared(lambda: bare(pipeline, next(seeds), prompt), lambda: audited(model, next(seeds), prompt))
    print(f"{name}: {found.ratio:.3f}", file=sys.stderr, flush=True)
    return {"pipeline": name, "bare s": found.bare, "audit s": found.work, "ratio": round(found.ratio, 3)}


def main() -> int:
    """Print the table."""
    from diffusers import DiffusionPipeline

    parser = arguments(__doc__ or "")
    emoji = ROOT / "example_audits" / "emoji-release"
    parser.add_argument("--pipeline", type=Path, default=emoji, help="a text-to-image pipeline")
    parser.add_argument("--prompt", default="a face", help="what it is asked")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = DiffusionPipeline.from_pretrained(
        given.pipeline, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    rows = [line("unconditional DDIM", unconditional(), None), line(given.pipeline.name, pipeline, given.prompt)]
    figures = [Figure(f"{row['pipeline']}: time over the bare pipeline's", row["ratio"], LIMIT) for row in rows]
    facts = {"images": IMAGES, "steps": STEPS, "batch": BATCH}
    columns = ("pipeline", "bare s", "audit s", "ratio")
    return conclude(__doc__ or "", columns, rows, {}, json_path=given.json, facts=facts, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
