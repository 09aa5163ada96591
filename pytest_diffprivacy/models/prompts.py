"""What does a text encoder make of a prompt? Embeddings that are computed once, token counts, and what is cut off."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError, PromptTruncated
from pytest_diffprivacy.models.protocols import Prompt

REMEMBERED = 4096
BATCH = 64
SHOWN = 3


@final
class PromptEncoder:
    """A tokenizer and its text encoder: prompts to the last hidden state, each distinct prompt encoded once.

    Args:
        tokenizer: a transformers tokenizer with a `model_max_length`.
        text_encoder: a transformers text model whose first output is the last hidden state.
        convert: what the pipeline does to a prompt before it is tokenized (textual inversion); identity by default.
    """

    def __init__(self, tokenizer: Any, text_encoder: Any, convert: Any = None) -> None:
        self._tokenizer, self._text_encoder = tokenizer, text_encoder
        self._convert = convert or (lambda prompt, tokenizer: prompt)
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        positions = int(text_encoder.config.max_position_embeddings)
        self.limit = min(int(tokenizer.model_max_length), positions)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The text of every token that is no special one and not blank, in the order of the tokenizer's ids."""
        special = set(self._tokenizer.all_special_ids)
        texts = self._tokenizer.batch_decode([[i] for i in range(len(self._tokenizer)) if i not in special])
        return [text.strip() for text in texts if text.strip()]

    def counts(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt with its start and end token, as many as there are, whatever the encoder takes."""
        texts = self._texts(prompts)
        return [len(ids) for ids in self._tokenizer(texts, verbose=False)["input_ids"]] if texts else []

    def encode(self, prompts: Sequence[Prompt]) -> Tensor:
        """Embeddings (prompts, tokens, width), padded to the encoder's length.

        Warns:
            PromptTruncated: prompts that were not encoded before are longer than the encoder takes.
        """
        texts = self._texts(prompts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._say_what_is_cut(new)
        rows = {text: self._known[text] for text in texts if text in self._known}
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            rows |= dict(zip(part, self._embed(part), strict=True))
        for text in dict.fromkeys(texts):
            self._known[text] = rows[text]
            self._known.move_to_end(text)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return torch.stack([rows[text] for text in texts])

    @torch.no_grad()
    def _embed(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(
            texts, padding="max_length", max_length=self.limit, truncation=True, return_tensors="pt"
        )
        device = next(self._text_encoder.parameters()).device
        masked = getattr(self._text_encoder.config, "use_attention_mask", False)
        mask = tokens["attention_mask"].to(device) if masked else None
        embedded: Tensor = self._text_encoder(tokens["input_ids"].to(device), attention_mask=mask)[0]
        return embedded

    def _texts(self, prompts: Sequence[Prompt]) -> list[str]:
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise ModelError(f"`prompts` must be texts for a text-to-image model, got {prompt!r}.")
        return [str(self._convert(prompt, self._tokenizer)) for prompt in prompts]

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
