"""Does an audit of a model of full size fit into memory, and what does one prompt cost?

The architecture of Stable Diffusion 1.5 with random weights in float32, 512x512 pixels, one thread: loading, one
generation, one prompt through every detector and one image through every attack at reduced settings (2 steps, one
image; a detector that needs more gets the least that it takes). Each in a process of its own, forked from the one that
holds the model: peak resident memory, the weights included, and processor time.

Stable Diffusion XL does not fit beside it on a machine of 24 GiB: `full_size_memory` counts it.

Targets: a network of the published size; everything runs; every detector within 16 GiB.

    python -m tests.benchmarks.full_size --json tests/benchmarks/results/full_size.json
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from pytest_diffprivacy import load_model
from pytest_diffprivacy.membership import ATTACKS
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from pytest_diffprivacy.memorization.detector import ConfiguredDetector
from pytest_diffprivacy.models.schedule import ReferenceTimestep
from tests.benchmarks.full_architectures import PARAMETERS, stable_diffusion_15
from tests.benchmarks.resident import peak_resident
from tests.benchmarks.table import Figure, arguments, conclude
from tests.benchmarks.timing import seconds

MODEL = "Stable Diffusion 1.5"
PROMPT = "a cat with a red hat"
GIB = 2.0**30
LIMIT = 16.0
STEPS = 2
DETECTOR_PARAMETERS: dict[str, dict[str, Any]] = {"attention_entropy": {"last": 1}}
DETECTOR_STEPS = {"anisotropy": 3}
ATTACK_PARAMETERS: dict[str, dict[str, Any]] = {
    "loss": {"draws": 1},
    "secmi": {"timestep": ReferenceTimestep(10)},
    "pfami": {"timesteps": (ReferenceTimestep(100),), "strengths": (0.9,)},
    "rediffuse": {"draws": 1},
    "clid": {"timesteps": (ReferenceTimestep(500),), "reductions": 1},
    "drc": {"masks": ("left",), "restorations": 1, "steps": STEPS},
}
COLUMNS = ("model", "what", "rows", "peak GiB", "seconds", "how")


def in_a_process(work: Callable[[], object]) -> dict[str, Any]:
    """Do the work in a fork of this process: its peak memory and processor time, or what went wrong."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_measured, args=(work, there))
    process.start()
    there.close()
    try:
        found: dict[str, Any] = here.recv()
    except EOFError:
        found = {"how": "did not finish"}
    process.join()
    return found


def _measured(work: Callable[[], object], answer: Connection) -> None:
    try:
        taken = seconds(work)
    except Exception as error:
        answer.send({"how": f"{type(error).__name__}: {str(error).splitlines()[0]}"})
        return
    peak = peak_resident() / GIB
    answer.send({"peak GiB": round(peak, 2), "seconds": round(taken, 1), "how": "measured"})


def works(model: Any) -> dict[str, tuple[int, Callable[[], object]]]:
    """What is done once with the model, by name, with the network rows that it declares."""
    found: dict[str, tuple[int, Callable[[], object]]] = {}
    for detector in DETECTORS.values():
        for derivative in ("central", "forward") if detector.name == "hessian_score" else (None,):
            parameters = DETECTOR_PARAMETERS.get(detector.name, {}) | ({"derivative": derivative} if derivative else {})
            asked, steps = detector(**parameters), DETECTOR_STEPS.get(detector.name, STEPS)
            images = detector.least_images

            def detect(asked: ConfiguredDetector = asked, steps: int = steps, images: int = images) -> None:
                name = asked.name
                asked.scores(watch_prompts(model, [PROMPT], {name: asked}, PromptSampling(images, steps))[name])

            rows = images * asked.cost(steps)
            title = f"detector: {detector.title}" + (f", {derivative} derivative" if derivative else "")
            found[title] = rows, detect
    found["generation"] = 2 * STEPS, lambda: model.generate([0], prompts=[PROMPT], steps=STEPS)
    image = torch.rand(1, *model.image_shape, generator=torch.Generator().manual_seed(0))
    for attack in ATTACKS.values():
        chosen = {**attack.defaults, **ATTACK_PARAMETERS.get(attack.name, {})}

        def score(attack: Any = attack, chosen: dict[str, Any] = chosen) -> None:
            attack.scores(model, image, prompts=[PROMPT], **chosen)

        found[f"attack: {attack.title}"] = attack.evaluations(chosen), score
    return found


def measured_rows() -> tuple[list[dict[str, Any]], int]:
    """A line for loading and for everything that is done with the model; and its network's parameters."""
    loaded: list[Any] = []
    taken = seconds(lambda: loaded.append(load_model(stable_diffusion_15())))
    model = loaded[0]
    peak = peak_resident() / GIB
    rows = [
        {"model": MODEL, "what": "loading", "peak GiB": round(peak, 2), "seconds": round(taken, 1), "how": "measured"}
    ]
    for what, (count, work) in works(model).items():
        rows.append({"model": MODEL, "what": what, "rows": count, **in_a_process(work)})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows, model.identity.parameters


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # of forking: one thread, set here
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    rows, parameters = measured_rows()
    targets = {
        f"{MODEL} has {PARAMETERS[MODEL]:,} parameters": parameters == PARAMETERS[MODEL],
        "everything ran": all(row["how"] == "measured" for row in rows),
    }
    figures = [
        Figure(f"{MODEL}, {row['what']}: peak GiB", row.get("peak GiB", float("inf")), LIMIT)
        for row in rows
        if row["what"].startswith("detector")
    ]
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
