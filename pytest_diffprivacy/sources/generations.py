"""Generations of the audited model, prompt by prompt, refused where they have another shape than the probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.errors import ModelError, UsageError
from pytest_diffprivacy.models.prompts import CLASSES_REMEDY, NULL_REMEDY, class_labels
from pytest_diffprivacy.models.protocols import Generator, Prompt
from pytest_diffprivacy.probes import ImageSet, ProbeSet, StoredGenerations
from pytest_diffprivacy.probes.tables import some

CLASSES_STREAM = 15


@dataclass(frozen=True, slots=True)
class Request:
    """Images that a generator is asked for.

    Attributes:
        count: how many.
        steps: sampling steps.
        prompt: of all of them; a tuple: one for each; None: none.
        guidance_scale: of classifier-free guidance; None: the model's own default.
        label: what events and progress call them; never holds the prompt.
        first: number of the first of them; a request is not begun before the one before it was taken.
    """

    count: int
    steps: int
    prompt: Prompt | tuple[Prompt, ...] | None = None
    guidance_scale: float | None = None
    label: str = "generations"
    first: int = 0

    def part(self, first: int, last: int) -> Request:
        """The generations from number `first` to before `last`."""
        prompt = self.prompt[first:last] if isinstance(self.prompt, tuple) else self.prompt
        return replace(self, count=last - first, prompt=prompt, first=first)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts, each once or oftener; none where there is none."""
        return self.prompt if isinstance(self.prompt, tuple) else () if self.prompt is None else (self.prompt,)


def unprompted(model: object, members: ImageSet, request: Request, seed: int) -> Request:
    """A request without a prompt, as a model can answer it.

    A class-conditional model without a null label has no other images than those of its classes: each is asked for with
    the class of a member, drawn as often as the training set holds it.

    Raises:
        ModelError: there is no null label, and the members have no classes.
    """
    labels = class_labels(model)
    if labels is None or labels.null is not None or request.prompt is not None:
        return request
    classes = members.prompts(range(len(members)))
    if classes is None:
        raise ModelError(
            f"The model has {labels.classes} classes and no null label, and the members have no classes to generate "
            f"from. {CLASSES_REMEDY}; {NULL_REMEDY}"
        )
    shares = members.repetitions / members.repetitions.sum()
    drawn = np.random.default_rng([seed, CLASSES_STREAM]).choice(len(members), size=request.count, p=shares)
    return replace(request, prompt=tuple(classes[place] for place in drawn), guidance_scale=1.0)


def unasked(model: object, prompts: Sequence[Prompt]) -> list[str]:
    """What a reader must know of the classes that a model has and that no member has."""
    labels = class_labels(model)
    if labels is None or labels.classes is None or not prompts:
        return []
    never = sorted(set(range(labels.classes)) - {int(prompt) for prompt in prompts})
    if not never:
        return []
    return [
        f"{len(never)} of the model's {labels.classes} classes were not generated from, for no member has them "
        f'({some([str(one) for one in never])}). If one of them was trained as "no class", name it by the option '
        "diffprivacy_null_label."
    ]


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
