"""What does a text encoder make of a prompt? Embeddings that are computed once, token counts, and what is cut off."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, PromptTruncated
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.protocols import Prompt

REMEMBERED = 4096
BATCH = 64
SHOWN = 3


@final
class PromptEncoder:
    """A tokenizer and what encodes prompts: each distinct prompt is counted and encoded once.

    Args:
        tokenizer: a transformers tokenizer, the one that takes most of a prompt.
        limit: how many tokens of it reach the model, start and end token included.
        embed: texts to named tensors with one row a text.
        convert: what the pipeline does to a prompt before this tokenizer sees it (textual inversion), for counting;
            `embed` does it by itself. Identity by default.
    """

    def __init__(
        self, tokenizer: Any, limit: int, embed: Callable[[Sequence[str]], Mapping[str, Tensor]], convert: Any = None
    ) -> None:
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
            asked = [str(self._convert(text, self._tokenizer)) for text in new]
            ids = self._tokenizer(asked, verbose=False)["input_ids"]
            self._lengths |= {text: len(tokens) for text, tokens in zip(new, ids, strict=True)}
        counts = [self._lengths[text] for text in texts]
        _forget_oldest(self._lengths)
        return counts

    def encode(self, prompts: Sequence[Prompt]) -> Conditioning:
        """Named tensors, one row a prompt; embeddings (prompts, tokens, width) are padded to the encoder's length.

        Warns:
            PromptTruncated: prompts that were not encoded before are longer than the encoder takes.
        """
        texts = _texts(prompts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._say_what_is_cut(new)
        rows = {text: self._known[text] for text in texts if text in self._known}
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            tensors = self._embed(part)
            rows |= {text: {name: t[i] for name, t in tensors.items()} for i, text in enumerate(part)}
        for text in dict.fromkeys(texts):
            self._known[text] = rows[text]
            self._known.move_to_end(text)
        _forget_oldest(self._known)
        return Conditioning({name: torch.stack([rows[text][name] for text in texts]) for name in rows[texts[0]]})

    def _say_what_is_cut(self, texts: list[str]) -> None:
        cut = [(i, n) for i, n in enumerate(self.counts(texts)) if n > self.limit]
        if cut:
            shown = ", ".join(f"{n} tokens" for _, n in cut[:SHOWN]) + (", ..." if len(cut) > SHOWN else "")
            warnings.warn(
                f"{len(cut)} of {len(texts)} prompts are longer than the {self.limit} tokens that the text encoder "
                f"takes ({shown}): the rest of them does not reach the model.",
                PromptTruncated,
                stacklevel=4,
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
