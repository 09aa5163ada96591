"""Generations of the audited model, prompt by prompt, refused where they have another shape than the probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.protocols import Generator, Prompt
from pytest_diffprivacy.probes import ProbeSet, StoredGenerations


@dataclass(frozen=True, slots=True)
class Request:
    """Images that a generator is asked for.

    Attributes:
        count: how many.
        steps: sampling steps.
        prompt: of all of them; None: none.
        guidance_scale: of classifier-free guidance; None: the model's own default.
        label: what events and progress call them; never holds the prompt.
        first: number of the first of them; a request is not begun before the one before it was taken.
    """

    count: int
    steps: int
    prompt: Prompt | None = None
    guidance_scale: float | None = None
    label: str = "generations"
    first: int = 0


def generated(
    auditor: Auditor,
    generator: Generator,
    requests: Sequence[Request],
    probes: ProbeSet | None,
    findings: Findings,
) -> Iterator[NDArray[np.uint8]]:
    """Blocks of generated images, (n, channels, height, width), in order.

    Raises:
        ModelError: they have another shape than the probes.
    """
    for request in requests:
        blocks = auditor.generations(
            generator, request.count, steps=request.steps, work=findings.work, prompt=request.prompt,
            guidance_scale=request.guidance_scale, label=request.label, first=request.first,
        )  # fmt: skip
        for _, images in blocks:
            if probes is not None and images.shape[1:] != probes.image_shape:
                raise ModelError(
                    f"The model generates images of shape {images.shape[1:]}, the probes have {probes.image_shape}. "
                    "Resize the probes as the training pipeline did."
                )
            yield images


def stops_early(model: object, early_stop: bool | None) -> bool:
    """Whether generating may stop early; None: unless the images were made elsewhere.

    Raises:
        UsageError: it must, and they were.
    """
    stored = isinstance(model, StoredGenerations)
    if stored and early_stop:
        raise UsageError(
            "`early_stop` must be False for generations made elsewhere: the first ones need not be like the rest, "
            "and none are left to be made. Leave it out."
        )
    return early_stop is not False and not stored


def evaluations_a_step(guidance_scale: float | None) -> int:
    """Network evaluations of one sampling step: guidance asks with the prompt and without it; None: a model's own."""
    return 1 if guidance_scale == 1.0 else 2
