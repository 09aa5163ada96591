"""What a network takes for prompts: class labels of indices; embeddings of texts, computed once, and token counts."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, PromptTruncated
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Prompt, Prompts
from pytest_diffprivacy.slices import in_batches

REMEMBERED = 4096
BATCH = 64
SHOWN = 3


LABELS = "class_labels"
CLASSES_REMEDY = (
    "Give the images' class indices: a column `label` or `class` beside them with diffprivacy_captions = label, or "
    "ProbeSet(..., captions='label')"
)
NULL_REMEDY = (
    'where one of its classes was trained as "no class", name it: load_model(..., null_label=...) or the option '
    "diffprivacy_null_label."
)
Predict: TypeAlias = Callable[[Tensor, Tensor, Conditioning | None], Tensor]
Output: TypeAlias = Callable[[Tensor, Tensor], Tensor]


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

    @property
    def facts(self) -> str:
        """What a record says of the classes; empty for an unconditional model."""
        if self.classes is None:
            return ""
        return f", {self.classes} classes, " + ("no null label" if self.null is None else f"null label {self.null}")

    def guided(self, predict: Predict, prompts: Prompts, count: int, scale: float) -> Output:
        """What the network predicts for prompts, or none, with guidance of a scale (up to 1: none) from "no class".

        Raises:
            ModelError: the prompts are no classes, or guidance is asked for that the model cannot give.

        Source: Implements Ho and Salimans 2022 (classifier-free guidance), written as in diffusers' DiTPipeline.
        """
        if scale != 1.0 and self.null is None:
            lacks, remedy = ("classes", "") if self.classes is None else ("a null label", f" Ask at 1.0; {NULL_REMEDY}")
            raise ModelError(f"`guidance_scale` must be 1.0 for a model without {lacks}, got {scale!r}.{remedy}")
        given = self.condition(prompts, count)
        if scale <= 1.0 or prompts is None:
            return lambda x, times: predict(x, times, given)
        parts = [part for part in (given, self.condition(None, count)) if part is not None]
        both = Conditioning.joined(parts)

        def output(x: Tensor, times: Tensor) -> Tensor:
            pair = predict(torch.cat([x, x]), torch.cat([times, times]), both)
            conditional, unconditional = pair.chunk(2)
            own, blank = conditional[:, : x.shape[1]], unconditional[:, : x.shape[1]]
            return torch.cat([blank + scale * (own - blank), conditional[:, x.shape[1] :]], dim=1)

        return output

    def condition(self, prompts: Prompts, count: int) -> Conditioning | None:
        """Class labels (count,) for class indices; None for an unconditional model.

        Raises:
            ModelError: prompts for an unconditional model, no prompts and no null label for a conditional one, or an
                index outside the classes.
        """
        if self.classes is None:
            if prompts is not None:
                raise ModelError(f"The model is unconditional, but {len(prompts)} prompts were given. Leave them out.")
            return None
        if prompts is not None:
            labels = [_class_index(p) for p in prompts]
        elif self.null is not None:
            labels = [self.null] * count
        else:
            raise ModelError(
                f"The model has {self.classes} classes and no null label: every image needs its class index as "
                f"its prompt. {CLASSES_REMEDY}; {NULL_REMEDY}"
            )
        bad = [label for label in labels if prompts is not None and not 0 <= label < self.classes]
        if bad or len(labels) != count:
            raise ModelError(
                f"`prompts` must be {count} class indices between 0 and {self.classes - 1}, got {len(labels)}"
                + (f" with {bad[0]!r} among them." if bad else ".")
            )
        return Conditioning({LABELS: torch.tensor(labels, device=self.device)})


def class_labels(model: object) -> ClassLabels | None:
    """The classes of one of our class-conditional models; None for any other model."""
    labels = getattr(getattr(model, "condition", None), "__self__", None)
    return labels if isinstance(labels, ClassLabels) and labels.classes is not None else None


def _class_index(prompt: Prompt) -> int:
    try:
        return int(prompt) if isinstance(prompt, str) else index(prompt)
    except (ValueError, TypeError):
        raise ModelError(f"`prompts` must be class indices for this model, got {prompt!r}.") from None


@final
class PromptEncoder:
    """The tokenizer that takes most of a prompt, and what encodes: each distinct prompt is counted and encoded once.

    Args:
        tokenizer: a transformers tokenizer.
        limit: how many tokens of it reach the model, start and end token included.
        embed: texts to named tensors with one row a text.
        convert: what the pipeline does to a prompt before this tokenizer sees it (textual inversion); `embed` does it
            by itself.
        zeros: whether no prompt is zeros instead of the encoded empty prompt.
        fixed: further tensors of one row that are the same for every prompt.
    """

    def __init__(
        self,
        tokenizer: Any,
        limit: int,
        embed: Callable[[Sequence[str]], Mapping[str, Tensor]],
        convert: Any = None,
        *,
        zeros: bool = False,
        fixed: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._zeros, self._fixed = zeros, dict(fixed or {})
        self._tokenizer, self.limit, self._embed = tokenizer, limit, embed
        self._convert = convert or _as_it_is
        self._known: OrderedDict[str, Mapping[str, Tensor]] = OrderedDict()
        self._lengths: OrderedDict[str, int] = OrderedDict()

    @cached_property
    def vocabulary(self) -> list[str]:
        """The text of every token that is no special one and not blank, in the order of the tokenizer's ids."""
        special = set(self._tokenizer.all_special_ids)
        texts = self._tokenizer.batch_decode([[i] for i in range(len(self._tokenizer)) if i not in special])
        return [text.strip() for text in texts if text.strip()]

    def counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt with its start and end token, as many as there are, whatever the encoder takes."""
        texts = _texts(prompts)
        new = [text for text in dict.fromkeys(texts) if text not in self._lengths]
        if new:
            converted = [str(self._convert(text, self._tokenizer)) for text in new]
            ids = self._tokenizer(converted, verbose=False)["input_ids"]
            self._lengths |= {text: len(tokens) for text, tokens in zip(new, ids, strict=True)}
        counts = [self._lengths[text] for text in texts]
        _forget_oldest(self._lengths)
        return counts

    def condition(self, prompts: Prompts, count: int) -> Conditioning:
        """Named tensors of `count` prompts, or of none, with the fixed ones; refuses what is no text."""
        if prompts is not None and len(prompts) != count:
            raise ModelError(f"`prompts` must be {count} texts, one for each row, got {len(prompts)}.")
        encoded = self.encode([""] if prompts is None else prompts)
        tensors = {n: torch.zeros_like(t) if prompts is None and self._zeros else t for n, t in encoded.items()}
        tensors |= {name: t.expand(len(encoded), *t.shape[1:]) for name, t in self._fixed.items()}
        complete = Conditioning(tensors)
        return complete.repeated(count) if prompts is None else complete

    def encode(self, prompts: Sequence[Prompt]) -> Conditioning:
        """Named tensors, one row a prompt; embeddings (prompts, tokens, width) are padded to the encoder's length.

        Warns:
            PromptTruncated: prompts that were not encoded before are longer than the encoder takes.
        """
        texts = _texts(prompts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._warn_of_truncation(new)
        rows = {text: self._known[text] for text in texts if text in self._known}
        for part in in_batches(len(new), BATCH):
            tensors = self._embed(new[part])
            rows |= {text: {name: t[i] for name, t in tensors.items()} for i, text in enumerate(new[part])}
        for text in dict.fromkeys(texts):
            self._known[text] = rows[text]
            self._known.move_to_end(text)
        _forget_oldest(self._known)
        return Conditioning({name: torch.stack([rows[text][name] for text in texts]) for name in rows[texts[0]]})

    def _warn_of_truncation(self, texts: list[str]) -> None:
        cut = [(i, n) for i, n in enumerate(self.counts(texts)) if n > self.limit]
        if cut:
            shown = ", ".join(f"{n} tokens" for _, n in cut[:SHOWN]) + (", ..." if len(cut) > SHOWN else "")
            warnings.warn(
                f"{len(cut)} of {len(texts)} prompts are longer than the {self.limit} tokens that the text encoder "
                f"takes ({shown}): the rest of them does not reach the model.",
                PromptTruncated,
                stacklevel=5,
            )


def _forget_oldest(known: OrderedDict[str, Any]) -> None:
    while len(known) > REMEMBERED:
        known.popitem(last=False)


def _as_it_is(prompt: str, tokenizer: Any) -> str:
    return prompt


def _texts(prompts: Sequence[Prompt]) -> list[str]:
    if isinstance(prompts, str):
        raise ModelError(f"`prompts` must be a list of texts, one a row, got the text {prompts!r} alone.")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise ModelError(f"`prompts` must be texts for a text-to-image model, got {prompt!r}.")
    return [str(prompt) for prompt in prompts]
