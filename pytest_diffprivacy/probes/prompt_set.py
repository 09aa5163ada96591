"""Prompt set: distinct texts, named by digest, with a training image if known."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.evidence.private_ids import private_id
from pytest_diffprivacy.probes.prompt_files import read_prompts
from pytest_diffprivacy.probes.sources import open_images


@final
class PromptSet:
    """Distinct prompts in the order in which they first occur.

    Args:
        prompts: texts, or a .txt, .csv, .jsonl or .parquet file of them; equal ones are one prompt with a count.
        role: "prompt" or "reference prompt"; used in ids and messages.
        images: the training image of each prompt, in the order of the source: an array, an image folder, an .npz or
            .safetensors file; shown beside generations as evidence. None: not known.
        column: the file's column that holds them; None: the only one of caption, text and prompt.
    """

    def __init__(
        self,
        prompts: Sequence[str] | str | Path,
        role: str = "prompt",
        *,
        images: object = None,
        column: str | None = None,
    ) -> None:
        if isinstance(prompts, (str, Path)):
            self.origin = f"file {Path(prompts).name}"
            texts = read_prompts(Path(prompts), column)
        else:
            self.origin, texts = "list", list(prompts)
        first: dict[str, int] = {}
        for position, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise ProbeError(f"{role} {position} must be a text that says something, got {text!r}. Remove it.")
            first.setdefault(text, position)
        if not first:
            raise ProbeError(f"The {role}s must be at least one, got none.")
        self.role, self.texts, self._positions = role, list(first), list(first.values())
        self._counts = list(Counter(texts).values())
        self._images = None if images is None else open_images(images)
        if self._images is not None and len(self._images) != len(texts):
            raise ProbeError(f"`images` must be one for each of the {len(texts)} {role}s, got {len(self._images)}.")

    @classmethod
    def of(cls, source: object, role: str) -> PromptSet:
        """A set from a list of texts, a file, or a PromptSet.

        Raises:
            ProbeError: it is none of these.
        """
        if isinstance(source, PromptSet):
            return source
        if isinstance(source, (str, Path, list, tuple)):
            return cls(source, role)
        raise ProbeError(
            f"{role}s must be a list of texts, a .txt, .csv, .jsonl or .parquet file, or a PromptSet, got "
            f"{type(source).__name__}."
        )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def total(self) -> int:
        """Prompts with their repetitions."""
        return sum(self._counts)

    def ids(self) -> list[str]:
        """Names of the prompts for records: role and private id, never the text or its digest."""
        return [f"{self.role} {private_id(text.encode())}" for text in self.texts]

    def private_texts(self) -> Iterator[tuple[str, str]]:
        """What a record may not show, and the id in its place."""
        yield from zip(self.texts, self.ids(), strict=True)

    def subset(self, indices: Sequence[int]) -> PromptSet:
        """A set of some of the distinct prompts, each once, without their images."""
        chosen = PromptSet([self.texts[i] for i in indices], self.role)
        chosen.origin = self.origin
        return chosen

    @property
    def digest(self) -> str:
        """sha256 of the set: its texts in order, with their counts."""
        content = repr(list(zip(self.texts, self._counts, strict=True)))
        return hashlib.sha256(content.encode()).hexdigest()

    def part_digest(self, start: int, stop: int) -> str:
        """sha256 of the texts start..stop-1, for cache keys."""
        return hashlib.sha256(repr(self.texts[start:stop]).encode()).hexdigest()

    def image(self, index: int) -> NDArray[np.float32] | None:
        """The training image of a prompt, (channels, height, width) in [0, 1]; None where it is not known."""
        return None if self._images is None else floats_of(self._images.read(self._positions[index]))
