"""How a model was asked: its conditioning, its guidance, and how much of what it can be asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from pytest_diffprivacy.evidence.records import Asked
from pytest_diffprivacy.models.network import NetworkDenoiser
from pytest_diffprivacy.models.prompts import class_labels
from pytest_diffprivacy.models.protocols import Prompt, PromptedDenoiser
from pytest_diffprivacy.probes import ImageSet


def asked(model: object, prompts: Sequence[Prompt] | None, *, guidance: Sequence[float] = ()) -> Asked:
    """The record of how a model is asked.

    Args:
        model: who is asked.
        prompts: texts or class indices; None: none, which a conditional model takes for its unconditional branch.
        guidance: scales of classifier-free guidance; none: there is no guidance, or the model's own.
    """
    labels = class_labels(model)
    classes = None if labels is None else labels.classes
    if prompts is None:
        return Asked(conditioning=_unconditional(model, classes), guidance=tuple(guidance), classes=classes)
    given = sorted(set(prompts), key=str)
    digest = hashlib.sha256(json.dumps(given).encode()).hexdigest()
    conditioning = "class" if all(isinstance(one, int) for one in given) else "prompt"
    return Asked(
        conditioning=conditioning, guidance=tuple(guidance), prompts=len(given), classes=classes, digest=digest
    )


def asked_of(model: object, sides: Sequence[ImageSet], takes_prompts: bool) -> Asked:
    """The record where a model is asked about images, with their prompts if it is given any."""
    own = [side.prompts(range(len(side))) for side in sides] if takes_prompts else [None]
    prompts = None if any(one is None for one in own) else [prompt for one in own for prompt in one or ()]
    return asked(model, prompts)


def _unconditional(model: object, classes: int | None) -> str:
    if classes is not None:
        return "null label"
    embeds = isinstance(model, NetworkDenoiser) and model.conditional
    return "empty prompt" if embeds or isinstance(model, PromptedDenoiser) else "none"
