"""Image set: a checked, digested, streamed set in which every image is counted once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.evidence.private_ids import private_id
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.image_files import FILE_FACTS, FileReader
from pytest_diffprivacy.probes.sizing import Sizing
from pytest_diffprivacy.probes.sources import DatasetReader, ImageReader, open_images
from pytest_diffprivacy.slices import in_batches

BAD_IMAGES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """The distinct images of a source: of each its first position, digest and count; and every position's digest."""

    positions: list[int]
    digests: list[bytes]
    counts: list[int]
    shape: tuple[int, int, int]
    every: list[bytes]


@final
class ImageSet:
    """Distinct images of one size, read on demand.

    Exact duplicates (equal pixels) are one image with a repetition count: a repeated training image is one probe.

    Args:
        reader: where the images come from.
        role: "member" or "non-member"; used in ids and messages.
        limit: positions of the reader to use; None: all.
        prompts: one text or class index for each image of the reader; None: the images have none.
        sizing: how images are brought to the model's size; None: they have it.

    Where grey and colour images are mixed, all are RGB.
    """

    def __init__(
        self,
        reader: ImageReader,
        role: str,
        limit: Sequence[int] | None = None,
        prompts: Sequence[Prompt] | None = None,
        sizing: Sizing | None = None,
    ) -> None:
        if prompts is not None and len(prompts) != len(reader):
            raise ProbeError(f"{role} prompts must be one for each of the {len(reader)} images, got {len(prompts)}.")
        self._reader, self.role, self._prompts, self._sizing = reader, role, prompts, sizing
        self._positions = list(range(len(reader)) if limit is None else limit)

    @classmethod
    def of(
        cls,
        source: object,
        role: str,
        prompts: Sequence[Prompt] | None = None,
        *,
        captions: bool | str = False,
        sizing: Sizing | None = None,
    ) -> ImageSet:
        """A set from whatever names images, see `open_images`.

        Args:
            source: names the images.
            role: "member" or "non-member".
            prompts: one an image; None: none.
            captions: take them from beside the images; a text: from the column of this name.
            sizing: how images are brought to the model's size; None: they have it.

        Raises:
            ProbeError: the source is none, or has no captions where they are wanted.
        """
        if isinstance(source, ImageSet):
            if sizing is None:
                return source
            return cls(source._reader, source.role, source._positions, source._prompts, sizing)
        reader = open_images(source)
        if captions:
            prompts = reader.captions(captions if isinstance(captions, str) else None)
            if prompts is None:
                raise ProbeError(
                    f"The {role} images must have captions beside them, got none in {reader.origin}. "
                    "Add a metadata file or a caption column, or give the prompts."
                )
        return cls(reader, role, prompts=prompts, sizing=sizing)

    @classmethod
    def captioned(cls, source: object, role: str) -> ImageSet:
        """A set whose prompts are the captions beside its images; as `of` with `captions`."""
        return cls.of(source, role, captions=True)

    @property
    def origin(self) -> str:
        """What a record calls the source."""
        return self._reader.origin + (f" ({self._sizing})" if self._sizing else "")

    def _read(self, position: int) -> NDArray[np.float32]:
        """One image of the source at its size."""
        image = self._reader.read(position)
        return self._sizing(image, self._reader.name(position)) if self._sizing else image

    @cached_property
    def _catalogue(self) -> _Catalogue:
        """Reads every image once, a grey one among coloured ones twice."""
        shape, every, grey = self._digested()
        for number in grey if shape[0] == 3 else ():
            every[number] = image_digest(coloured(self._read(self._positions[number])))
        first: dict[bytes, int] = {}
        for position, digest in zip(self._positions, every, strict=True):
            first.setdefault(digest, position)
        return _Catalogue(list(first.values()), list(first), list(Counter(every).values()), shape, every)

    def _digested(self) -> tuple[tuple[int, int, int], list[bytes], list[int]]:
        """The shape of the images, the digest of each as it is read, and the numbers of the grey ones."""
        every: list[bytes] = []
        grey: list[int] = []
        shape: tuple[int, ...] | None = None
        problems: list[str] = []
        for position in self._positions:
            try:
                image = self._read(position)
            except ProbeError as error:
                problems.append(str(error))
                continue
            shape = shape or image.shape
            if image.shape != shape:
                if image.shape[1:] != shape[1:] or {image.shape[0], shape[0]} != {1, 3}:
                    problems.append(_of_another_size(self._reader.name(position), image.shape, shape))
                    continue
                shape = (3, *shape[1:])
            if image.shape[0] == 1:
                grey.append(len(every))
            every.append(image_digest(image))
        if problems:
            more = f" (and {len(problems) - BAD_IMAGES_SHOWN} more)" if len(problems) > BAD_IMAGES_SHOWN else ""
            listed = "\n  ".join(problems[:BAD_IMAGES_SHOWN])
            raise ProbeError(
                f"{len(problems)} of {len(self._positions)} {self.role} images cannot be used{more}:\n  {listed}"
            )
        if shape is None:
            raise ProbeError(f"The {self.role} images must be at least one, got a selection of none.")
        return (shape[0], shape[1], shape[2]), every, grey

    @property
    def source_count(self) -> int:
        """How many images the source holds, duplicates counted; reads none of them."""
        return len(self._positions)

    @property
    def source_prompts(self) -> int:
        """How many different prompts the source's images have; reads no image."""
        return 0 if self._prompts is None else len({self._prompts[position] for position in self._positions})

    def __len__(self) -> int:
        return len(self._catalogue.positions)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        return self._catalogue.shape

    @property
    def digests(self) -> list[bytes]:
        """sha256 of each image's pixels."""
        return self._catalogue.digests

    @property
    def digest_order(self) -> list[int]:
        """The images' numbers in the order of their digests, which is the same in whatever order their files come.

        Compared as Python's bytes: NumPy's drop zero bytes at the end.
        """
        return sorted(range(len(self)), key=self.digests.__getitem__)

    @property
    def repetitions(self) -> NDArray[np.int64]:
        """How often each image occurs in the source: int64 (n,)."""
        return np.asarray(self._catalogue.counts, dtype=np.int64)

    def ids(self) -> list[str]:
        """Names of the images for records: role and private id, never a path or a digest."""
        return [f"{self.role} {private_id(digest)}" for digest in self.digests]

    def sources(self) -> Iterator[tuple[str, bytes]]:
        """The name of every image of the source in its order, repetitions too, and its digest."""
        for position, digest in zip(self._positions, self._catalogue.every, strict=True):
            yield self._reader.name(position), digest

    def private_texts(self) -> Iterator[tuple[str, str]]:
        """What a record may not show of single images, and what stands in its place: names and captions, and ids."""
        named = dict(zip(self._catalogue.positions, self.ids(), strict=True))
        for position in self._positions:
            shown = named.get(position, f"repeated {self.role}")
            path = self._reader.name(position)
            yield path, shown
            yield Path(path).name, shown
            if self._prompts is not None and isinstance(self._prompts[position], str):
                yield str(self._prompts[position]), f"caption of {shown}"

    @cached_property
    def digest(self) -> str:
        """sha256 of the set: its images in order, with their counts."""
        content = b"".join(d + str(c).encode() for d, c in zip(self.digests, self._catalogue.counts, strict=True))
        return hashlib.sha256(content).hexdigest()

    def part_digest(self, start: int, stop: int) -> str:
        """sha256 of the images start..stop-1 and their prompts, for cache keys."""
        digest = hashlib.sha256(b"".join(self.digests[start:stop]))
        prompts = self.prompts(range(start, stop))
        digest.update(b"" if prompts is None else repr(prompts).encode())
        return digest.hexdigest()

    def prompts(self, indices: Sequence[int]) -> list[Prompt] | None:
        """The prompts of images (of a repeated image its first one); None where the set has none."""
        if self._prompts is None:
            return None
        positions = self._catalogue.positions
        return [self._prompts[positions[i]] for i in indices]

    def file_facts(self) -> tuple[tuple[str, ...], NDArray[np.float64]] | None:
        """What is known of each image's file (of a repeated image its first one): names (k,) and values (n, k).

        None where the images are no files.
        """
        if not isinstance(self._reader, FileReader):
            return None
        return FILE_FACTS, np.array([self._reader.file_facts(position) for position in self._catalogue.positions])

    def load(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """Images (len(indices), channels, height, width) in [0, 1].

        Raises:
            ProbeError: an item of a dataset is no longer that of its digest.
        """
        found = [self._load(i) for i in indices]
        return np.stack(found) if found else np.empty((0, *self.image_shape), dtype=np.float32)

    def _load(self, index: int) -> NDArray[np.float32]:
        """One image, as it was when its digest was taken."""
        position = self._catalogue.positions[index]
        image = self._read(position)
        if image.shape[0] == 1 and self.image_shape[0] == 3:
            image = coloured(image)
        if isinstance(self._reader, DatasetReader) and image_digest(image) != self.digests[index]:
            raise ProbeError(
                f"{self._reader.name(position)} reads differently from one time to the next. Take random transforms "
                f"(flips, crops, noise) out of {self._reader.origin}."
            )
        return image

    def batches(self, size: int) -> Iterator[tuple[range, NDArray[np.float32]]]:
        """All images in order, `size` at a time."""
        for part in in_batches(len(self), size):
            positions = range(part.start, part.stop)
            yield positions, self.load(positions)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """A set of some of the distinct images, each once."""
        whole = self._catalogue
        positions, digests = [whole.positions[i] for i in indices], [whole.digests[i] for i in indices]
        part = ImageSet(self._reader, self.role, positions, self._prompts, self._sizing)
        if digests and len(set(digests)) == len(digests):  # digests are not taken again: an image must keep its own
            part._catalogue = _Catalogue(positions, digests, [1] * len(digests), whole.shape, digests)
        return part

    def drawn(self, count: int, *stream: int) -> ImageSet:
        """`count` of the images, drawn by the numbers of a random stream, in order; all where there are no more."""
        if len(self) <= count:
            return self
        return self.subset(sorted(np.random.default_rng(stream).permutation(len(self))[:count].tolist()))


def coloured(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grey image as RGB."""
    return np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image


def _of_another_size(name: str, shape: tuple[int, ...], before: tuple[int, ...]) -> str:
    side = min(before[1:])
    return (
        f"{name} has shape {shape}, the images before it {before}. Resize it. All can be read as training did: "
        f"ProbeSet(..., resize={side}, crop={side}), or diffprivacy_resize and diffprivacy_crop."
    )
