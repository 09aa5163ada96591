"""How is a class-conditional model told its class? Class indices as prompts, checked; "no class" where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Prompt

LABELS = "class_labels"


@final
@dataclass(frozen=True, slots=True)
class ClassLabels:
    """The classes of a model.

    Attributes:
        classes: how many a prompt may name; None for an unconditional model.
        null: the index trained as "no class", if there is one.
        device: where the labels live.
    """

    classes: int | None
    null: int | None
    device: torch.device

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning | None:
        """Class labels (count,) for class indices; None for an unconditional model.

        Raises:
            ModelError: prompts for an unconditional model, no prompts and no null label for a conditional one, or an
                index outside the classes.
        """
        if self.classes is None:
            if prompts is not None:
                raise ModelError(f"The model is unconditional, but {len(prompts)} prompts were given. Leave them out.")
            return None
        if prompts is None:
            if self.null is None:
                raise ModelError(
                    f"The model has {self.classes} classes and no null label: every image needs its class index as "
                    "its prompt. Pass prompts, or PixelDiffusion(..., null_label=...)."
                )
            return self._told([self.null] * count)
        labels = [_class_index(p) for p in prompts]
        bad = [label for label in labels if not 0 <= label < self.classes]
        if bad or len(labels) != count:
            raise ModelError(
                f"`prompts` must be {count} class indices between 0 and {self.classes - 1}, got {len(labels)}"
                + (f" with {bad[0]!r} among them." if bad else ".")
            )
        return self._told(labels)

    def _told(self, labels: list[int]) -> Conditioning:
        return Conditioning({LABELS: torch.tensor(labels, device=self.device)})


def _class_index(prompt: Prompt) -> int:
    try:
        return int(prompt)
    except ValueError:
        raise ModelError(f"`prompts` must be class indices for this model, got {prompt!r}.") from None
