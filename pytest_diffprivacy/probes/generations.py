"""Stored generations: images made elsewhere, as a Generator that can give no more than there are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import ModelError, ProbeError
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.file_catalogue import coloured
from pytest_diffprivacy.probes.sources import open_images

SEEDS = 2**32


@final
class StoredGenerations:
    """Images that a model made elsewhere, as a black-box Generator: generation i is image i, whatever the run's seed.

    Args:
        source: an image folder (in the order of the paths), an array, or an .npz or .safetensors file.
        name: what records call it.
        prompts: one an image, where the images were made for prompts; the i-th generation of a prompt is the i-th of
            its images.
        guidance_scale: with which they were made; asking for another is an error.

    Raises:
        ProbeError: the source cannot be read.
        ModelError: another number of prompts than images.
    """

    def __init__(
        self,
        source: object,
        *,
        name: str = "stored generations",
        prompts: Sequence[Prompt] | None = None,
        guidance_scale: float = 1.0,
    ) -> None:
        self._reader, self._name, self._guidance_scale = open_images(source), name, guidance_scale
        if prompts is not None and len(prompts) != len(self._reader):
            raise ModelError(f"`prompts` must be one for each of {len(self._reader)} images, got {len(prompts)}.")
        self._places: dict[Prompt | None, list[int]] = {}
        for place, prompt in enumerate([None] * len(self._reader) if prompts is None else prompts):
            self._places.setdefault(prompt, []).append(place)

    @cached_property
    def identity(self) -> ModelIdentity:
        """Named by the images themselves; reads each of them twice, first for the shape of all."""
        digest = hashlib.sha256(repr((list(self._places.items()), self._guidance_scale)).encode())
        for place in range(len(self._reader)):
            digest.update(image_digest(self._read(place)))
        return ModelIdentity(
            name=self._name,
            family=f"images made elsewhere, {self._reader.origin}",
            digest=digest.hexdigest(),
            parameters=0,
            dtype="float32",
            device="not known",
            access="black box",
        )

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """The shape of all images, RGB where some are; reads each of them once."""
        shape = self._reader.read(0).shape
        for place in range(len(self._reader)):
            found = self._reader.read(place).shape
            if found[1:] != shape[1:] or (found != shape and {found[0], shape[0]} != {1, 3}):
                raise ProbeError(
                    f"{self._reader.name(place)} has shape {found}, the images before it {shape}. Resize it."
                )
            shape = max(shape, found)
        return shape

    def _read(self, place: int) -> NDArray[np.float32]:
        image = floats_of(self._reader.read(place))
        return coloured(image) if self._shape[0] == 3 else image

    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """Image number `seed modulo 2^32`, of those made for the prompt.

        Raises:
            ModelError: more images than there are, a prompt without images, or another guidance.
        """
        if guidance_scale != self._guidance_scale:
            raise ModelError(
                f"`guidance_scale` must be {self._guidance_scale:g}, with which these images were made, got "
                f"{guidance_scale!r}. Ask at no other, as by PromptSearch(guidance_scales=({self._guidance_scale:g},))."
            )
        wanted = [None] * len(seeds) if prompts is None else prompts
        pairs = zip(seeds, wanted, strict=True)
        return torch.from_numpy(np.stack([self._read(self._place(seed, prompt)) for seed, prompt in pairs]))

    def _place(self, seed: int, prompt: Prompt | None) -> int:
        made, number = self._places.get(prompt, []), seed % SEEDS
        if not made and prompt is not None:
            raise ModelError(
                f"{self._reader.origin} holds 0 generations for a prompt that was asked. Give StoredGenerations the "
                "`prompts` of its images, and ask no others, as by PromptSearch(prompts=...)."
            )
        if number >= len(made):
            whose = "" if prompt is None else " for this prompt"
            raise ModelError(
                f"{self._reader.origin} holds {len(made)} generations{whose}, and number {number + 1} was asked for. "
                f"Ask for at most {len(made)}, or generate more."
            )
        return made[number]
