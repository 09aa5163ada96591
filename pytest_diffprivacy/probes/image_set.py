"""Image set: a checked, digested, streamed set in which every image is counted once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.distances.bounds import Features, Pixels, features_of
from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.evidence.private_ids import private_id
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.class_folders import CHOICES, same_classes
from pytest_diffprivacy.probes.file_catalogue import Catalogue, bytes_of_one, coloured, in_threads, sized
from pytest_diffprivacy.probes.image_files import FILE_FACTS, FileReader
from pytest_diffprivacy.probes.sizing import Sizing
from pytest_diffprivacy.probes.sources import DatasetReader, ImageReader, open_images
from pytest_diffprivacy.probes.tables import CLASSES
from pytest_diffprivacy.slices import in_batches

FEATURE_BLOCK = 64
EACH_BYTES = 12 * 2**20

Result = TypeVar("Result")


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
        subjects: whom each image of the reader shows; None: that is not known.

    Where grey and colour images are mixed, all are RGB.
    """

    def __init__(
        self,
        reader: ImageReader,
        role: str,
        limit: Sequence[int] | None = None,
        prompts: Sequence[Prompt] | None = None,
        sizing: Sizing | None = None,
        subjects: Sequence[str] | None = None,
    ) -> None:
        if prompts is not None and len(prompts) != len(reader):
            raise ProbeError(f"{role} prompts must be one for each of the {len(reader)} images, got {len(prompts)}.")
        self._reader, self.role, self._prompts, self._sizing = reader, role, prompts, sizing
        self._subjects = subjects
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
            captions: take them from beside the images; a text: from the column of this name; CLASSES: the class
                indices, if there are any.
            sizing: how images are brought to the model's size; None: they have it.

        Raises:
            ProbeError: the source is none, or has no captions where they are wanted.
        """
        if isinstance(source, ImageSet):
            if sizing is None:
                return source
            return cls(source._reader, source.role, source._positions, source._prompts, sizing, source._subjects)
        reader = open_images(source)
        if captions:
            prompts = reader.captions(captions if isinstance(captions, str) else None)
            if prompts is None and captions != CLASSES:
                folders = getattr(getattr(reader, "folders", None), "names", ())
                raise ProbeError(
                    f"The {role} images must have captions beside them, got none in {reader.origin}. "
                    "Add a metadata file or a caption column, or give the prompts."
                    + (f" Its {len(folders)} subfolders may be classes: {CHOICES}." if folders else "")
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

    def _read(self, position: int) -> Pixels:
        """One image of the source at its size."""
        return sized(self._reader, position, self._sizing)

    @cached_property
    def _catalogue(self) -> Catalogue:
        """Reads every image once, a grey one among coloured ones twice; known files not at all."""
        return Catalogue.of(self._reader, self._positions, self._sizing, self.role)

    @property
    def source_count(self) -> int:
        """How many images the source holds, duplicates counted; reads none of them."""
        return len(self._positions)

    @property
    def class_folders(self) -> tuple[str, ...]:
        """The subfolders whose places are the images' classes, sorted; none where others are."""
        return self._reader.classes if isinstance(self._reader, FileReader) else ()

    def with_classes_of(self, members: ImageSet) -> ImageSet:
        """The same set with classes counted among the folders of other images.

        Raises:
            ProbeError: a folder is none of theirs, or one side's classes are folders and the other's are not.
        """
        if self._prompts is None or members._prompts is None or not (self.class_folders or members.class_folders):
            return self
        if not (self.class_folders and members.class_folders):
            sides = sorted((self, members), key=lambda side: not side.class_folders)
            raise ProbeError(
                f"The classes of the {sides[0].role}s are places of their subfolders, those of the {sides[1].role}s "
                "stand beside them, and the same number may mean two classes. Give both a metadata.csv with a column "
                "label."
            )
        places = same_classes(members.class_folders, self.class_folders)
        prompts = [places[int(place)] for place in self._prompts]
        return ImageSet(self._reader, self.role, self._positions, prompts, self._sizing, self._subjects)

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

    @property
    def has_prompts(self) -> bool:
        """Whether the images have prompts."""
        return self._prompts is not None

    def prompts(self, indices: Sequence[int]) -> list[Prompt] | None:
        """The prompts of images (of a repeated image its first one); None where the set has none."""
        if self._prompts is None:
            return None
        positions = self._catalogue.positions
        return [self._prompts[positions[i]] for i in indices]

    def shown(self, subjects: Sequence[str]) -> ImageSet:
        """The same set with whom each image of its source shows, one a position of it."""
        every = dict(zip(self._positions, subjects, strict=True))
        told = [every.get(position, "") for position in range(len(self._reader))]
        return ImageSet(self._reader, self.role, self._positions, self._prompts, self._sizing, told)

    def subjects(self, indices: Sequence[int]) -> list[str] | None:
        """Whom images show (a repeated image: its first one); None where that is not known.

        Raises:
            ProbeError: one image has two subjects.
        """
        if self._subjects is None:
            return None
        whole = self._catalogue
        first = dict(zip(whole.digests, whole.positions, strict=True))
        for position, digest in zip(self._positions, whole.every, strict=True):
            if self._subjects[position] != self._subjects[first[digest]]:
                raise ProbeError(
                    f"{self._reader.name(position)} must have one subject, got two: it is also "
                    f"{self._reader.name(first[digest])}. Keep one of them."
                )
        return [self._subjects[whole.positions[i]] for i in indices]

    @property
    def source_subjects(self) -> int:
        """How many different subjects the source's images show; reads no image."""
        return 0 if self._subjects is None else len({self._subjects[position] for position in self._positions})

    def file_facts(self) -> tuple[tuple[str, ...], NDArray[np.float64]] | None:
        """What is known of each image's file (of a repeated image its first one): names (k,) and values (n, k).

        None where the images are no files.
        """
        if not isinstance(self._reader, FileReader):
            return None
        return FILE_FACTS, np.array([self._reader.file_facts(position) for position in self._catalogue.positions])

    @property
    def in_bytes(self) -> bool:
        """Whether every value of every image is a multiple of 1/255."""
        return self._catalogue.in_bytes

    @cached_property
    def features(self) -> Features:
        """What bounds the distances of the images; reads each of them where the catalogue does not know."""
        kept = self._catalogue.features
        if kept is not None:
            return kept
        blocks = in_batches(len(self), FEATURE_BLOCK)
        parts = [features_of(self.pixels(range(part.start, part.stop))) for part in blocks]
        return Features(np.concatenate([part.values for part in parts]), parts[0].means)

    def __getstate__(self) -> dict[str, Any]:
        """Features stay where they are: another process makes those that it needs."""
        state = {name: value for name, value in self.__dict__.items() if name != "features"}
        if "_catalogue" in state:
            state["_catalogue"] = replace(state["_catalogue"], features=None)
        return state

    def pixels(self, indices: Sequence[int]) -> Pixels:
        """Images (len(indices), channels, height, width), uint8 where the whole set is of bytes, else as by `load`.

        Raises:
            ProbeError: an image is no longer that of its digest.
        """
        result: Pixels = np.empty((len(indices), *self.image_shape), np.uint8 if self.in_bytes else np.float32)
        kind = bytes_of_one if self.in_bytes else floats_of
        for row, image in zip(result, in_threads(self._load, indices, self._reader), strict=True):
            row[:] = kind(image)
        return result

    def load(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """Images (len(indices), channels, height, width) in [0, 1].

        Raises:
            ProbeError: an image is no longer that of its digest.
        """
        result = np.empty((len(indices), *self.image_shape), dtype=np.float32)
        for row, image in zip(result, in_threads(self._load, indices, self._reader), strict=True):
            row[:] = floats_of(image)
        return result

    def _load(self, index: int) -> Pixels:
        """One image, as it was when its digest was taken."""
        position = self._catalogue.positions[index]
        image = self._read(position)
        if image.shape[0] == 1 and self.image_shape[0] == 3:
            image = coloured(image)
        if not self._is_untouched(index) and image_digest(floats_of(image)) != self.digests[index]:
            raise ProbeError(self._changed(position))
        return image

    def _is_untouched(self, index: int) -> bool:
        """Whether an image's file is the one whose digest was taken; nothing tells that of what is no file."""
        if not (isinstance(self._reader, FileReader) and self._catalogue.stamps):
            return False
        stamp = self._reader.stamp(self._catalogue.positions[index])
        return bool(stamp) and stamp == self._catalogue.stamps[index]

    def _changed(self, position: int) -> str:
        name = self._reader.name(position)
        if isinstance(self._reader, DatasetReader):
            return (
                f"{name} reads differently from one time to the next. Take random transforms (flips, crops, noise) out "
                f"of {self._reader.origin}."
            )
        return (
            f"{name} was changed after its digest was taken: scores of it would be stored under another image's name. "
            "Leave the images alone while the audit runs, and start it again."
        )

    def batches(self, size: int) -> Iterator[tuple[range, NDArray[np.float32]]]:
        """All images in order, `size` at a time."""
        for part in in_batches(len(self), size):
            positions = range(part.start, part.stop)
            yield positions, self.load(positions)

    def each(self, function: Callable[[NDArray[np.float32]], Result]) -> Iterator[Result]:
        """Something of all images in order, some megabytes of them at a time; of files several at once, by threads."""
        size = max(1, EACH_BYTES // (4 * int(np.prod(self.image_shape))))

        def of(part: slice) -> Result:
            return function(np.stack([floats_of(self._load(i)) for i in range(part.start, part.stop)]))

        yield from in_threads(of, in_batches(len(self), size), self._reader)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """A set of some of the distinct images, each once."""
        chosen = self._catalogue.take(indices)
        part = ImageSet(self._reader, self.role, chosen.positions, self._prompts, self._sizing, self._subjects)
        if chosen.digests and len(set(chosen.digests)) == len(chosen.digests):
            part._catalogue = chosen  # digests are not taken again: an image must keep its own
        return part

    def drawn(self, count: int, *stream: int) -> ImageSet:
        """`count` of the images, drawn by the numbers of a random stream, in order; all where there are no more."""
        if len(self) <= count:
            return self
        return self.subset(sorted(np.random.default_rng(stream).permutation(len(self))[:count].tolist()))
