"""Seed control: whether a generator gives the same image for the same seed, and not the same image for every seed.

Generations are counted as draws of their own, a run is continued from stored ones, and another person redoes it from
its seed: none of this holds of a generator that does not hear seeds, or hears only the first one of a batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.engine import GenerationTask, Unit, Work
from pytest_diffprivacy.engine.tasks import generate
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.evidence.records import ControlOutcome
from pytest_diffprivacy.models.protocols import Generator
from pytest_diffprivacy.sources.controls import control, stop
from pytest_diffprivacy.sources.generations import Request

VERSION: Final = 1
PAIR, MANY = 2, 8
"""Images asked for again; images that must not all be equal."""
EQUAL, SHARE = 0.02, 0.25
"""RMS on [0, 1], and share of the distance of two seeds, up to which two images of one seed differ by rounding."""
REMEDY: Final = (
    "Draw all noise of image i from a generator of its own, torch.Generator().manual_seed(seeds[i]), and put networks "
    "into eval mode. What cannot be seeded is generated once, and its images audited: probes.StoredGenerations(folder)"
)


def seed_control(auditor: Auditor, model: Generator, request: Request, findings: Findings) -> None:
    """Ask for two images, and again in the other order; where both are one image, for six more.

    A generator that gives one image for all seeds cannot PASS: that it copies nothing is known of one image only.

    Args:
        auditor: who computes.
        model: under audit.
        request: the claim's first one.
        findings: the claim's.

    Raises:
        AuditError: the same seed gives another image.
    """
    name, asked = model.identity.name, min(PAIR, request.count)
    prompt = request.prompts[0] if request.prompts else None
    many = range(auditor.generation_seed(0), auditor.generation_seed(min(MANY, request.count)))
    task = GenerationTask(many, request.steps, prompt, request.guidance_scale)
    conditions = task.conditions(slice(0, 0))
    depends = {"method": "seeds", "version": VERSION, **conditions, "seeds": [many.start, many.stop]}
    unit = Unit("seeds", depends, partial(_images, many, conditions), 2 * asked)
    (arrays,) = auditor.engine.run(model, [unit], title="checking seeds", work=Work())
    first, again = (arrays[key].astype(np.float64) / 255.0 for key in ("first", "again"))
    moved, apart = float(_rms(first - again).max()), float(_rms(first[:1] - first[-1:]).max())
    repeats = moved <= EQUAL or moved <= SHARE * apart
    done = (
        f"{asked} images were asked for by their seeds, and again in the other order; {len(many)} where they are equal."
        " The same seed must give the same image, and not all seeds one image."
    )
    meaning = f"Images of one seed differ by RMS {moved:.3g}, of two seeds by {apart:.3g}."
    outcome = ControlOutcome.HELD if repeats else ControlOutcome.FAILED
    findings.controls.append(control("wiring", f"{name}, seeds", done, outcome, meaning))
    stop(findings, "wiring", f"so its generations are not those of their seeds. {REMEDY}")
    if len(arrays["many"]) > 1 and bool((arrays["many"] == arrays["many"][:1]).all()):
        findings.cannot_pass = (
            f"{name} gives one and the same image for {len(many)} different seeds: what else it can give was not "
            f"looked at. {REMEDY}."
        )


def _images(seeds: range, conditions: dict[str, Any], model: Generator, batch_size: int) -> Arrays:
    pair = list(seeds[:PAIR])
    first = generate(model, pair, conditions, batch_size)
    again = generate(model, pair[::-1], conditions, batch_size)[::-1].copy()
    same = len(pair) > 1 and bool((first[0] == first[1]).all())
    rest = generate(model, list(seeds[PAIR:]), conditions, batch_size) if same and len(seeds) > PAIR else first[:0]
    return {"first": first, "again": again, "many": np.concatenate([first, rest])}


def _rms(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    rms: NDArray[np.float64] = np.sqrt(np.square(difference).reshape(len(difference), -1).mean(1))
    return rms
