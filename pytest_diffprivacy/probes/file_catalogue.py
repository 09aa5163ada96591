"""Catalogue of images: digest, shape and features of each, made in one threaded reading, and kept by their files."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from PIL import features as codecs

from pytest_diffprivacy import options
from pytest_diffprivacy.distances.bounds import Features, Pixels, feature_count, features_of
from pytest_diffprivacy.distances.neighbours import LARGE_SIDE
from pytest_diffprivacy.distances.squares import bytes_of, floats_of
from pytest_diffprivacy.errors import BudgetSpent, ProbeError
from pytest_diffprivacy.evidence import Arrays, fingerprint
from pytest_diffprivacy.evidence.store import Store, session_store
from pytest_diffprivacy.models.noise import image_digest
from pytest_diffprivacy.probes import image_files
from pytest_diffprivacy.probes.image_files import FileReader, allowed_pixels
from pytest_diffprivacy.probes.sizing import Sizing
from pytest_diffprivacy.probes.sources import ImageReader
from pytest_diffprivacy.slices import in_batches

VERSION = 1
BAD_IMAGES_SHOWN = 5
MOST_THREADS = 8
TOGETHER = 128
"""Files whose entries are stored together, at most."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], reader: ImageReader | None = None
) -> Iterator[Result]:
    """The results of all items in their order, where a reader is of files by as many threads as there are cores."""
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    if threads == 1 or not (reader is None or isinstance(reader, FileReader)):
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def coloured(image: Pixels) -> Pixels:
    """A grey image as RGB."""
    return np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image


def bytes_of_one(image: Pixels) -> NDArray[np.uint8]:
    """An image that is known to be of bytes, as bytes."""
    if image.dtype == np.uint8:
        return image
    return np.rint(image * np.float32(255.0)).astype(np.uint8)


def sized(reader: ImageReader, position: int, sizing: Sizing | None) -> Pixels:
    """One image of a source at its size."""
    image = reader.read(position)
    return sizing(floats_of(image), reader.name(position)) if sizing else image


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What is kept of one image.

    Attributes:
        shape: (channels, height, width).
        digest: sha256 of its pixels.
        in_rgb: that of the same image as RGB.
        in_bytes: whether every value is a multiple of 1/255.
        features: what bounds its distances; empty where the image is small.
    """

    shape: tuple[int, ...]
    digest: bytes
    in_rgb: bytes
    in_bytes: bool
    features: NDArray[np.float32]

    @classmethod
    def of(cls, image: Pixels) -> Entry:
        """Of an image (channels, height, width)."""
        levels = image if image.dtype == np.uint8 else bytes_of(image[None])
        pixels = floats_of(image)
        digest = image_digest(pixels)
        rgb = image_digest(floats_of(coloured(image))) if image.shape[0] == 1 else digest
        exact = image if levels is None else levels.reshape(image.shape)
        large = min(image.shape[1:]) >= LARGE_SIDE
        values = features_of(exact[None]).values[0] if large else np.empty(0, dtype=np.float32)
        return cls(image.shape, digest, rgb, levels is not None, values)


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """The distinct images of a source.

    Attributes:
        positions: of each its first position in the source.
        digests: of each the sha256 of its pixels.
        counts: how often each occurs.
        shape: of all.
        every: digest of every position, repetitions too.
        in_bytes: whether all are of bytes.
        features: of each; None where they are not known.
        stamps: of the file of each, before it was read; empty where the source is no list of files.
    """

    positions: list[int]
    digests: list[bytes]
    counts: list[int]
    shape: tuple[int, int, int]
    every: list[bytes]
    in_bytes: bool
    features: Features | None
    stamps: list[tuple[int, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, reader: ImageReader, positions: Sequence[int], sizing: Sizing | None, role: str) -> Catalogue:
        """Of some positions of a source.

        Raises:
            ProbeError: images cannot be read, or have several sizes; the message names the first of them.
            BudgetSpent: the audit's time is over.
        """
        stamps = [reader.stamp(position) for position in positions] if isinstance(reader, FileReader) else []
        found = _entries(reader, positions, sizing)
        shape, problems = _one_shape(found, reader, positions)
        if problems:
            more = f" (and {len(problems) - BAD_IMAGES_SHOWN} more)" if len(problems) > BAD_IMAGES_SHOWN else ""
            listed = "\n  ".join(problems[:BAD_IMAGES_SHOWN])
            raise ProbeError(
                f"{len(problems)} of {len(positions)} {role} images cannot be used{more}:\n  {listed}\n"
                "Mend or remove them."
            )
        if shape is None:
            raise ProbeError(f"The {role} images must be at least one, got a selection of none.")
        entries = [entry for entry in found if isinstance(entry, Entry)]
        every = [entry.in_rgb if shape[0] == 3 else entry.digest for entry in entries]
        first: dict[bytes, int] = {}
        for number, digest in enumerate(every):
            first.setdefault(digest, number)
        chosen = [entries[number] for number in first.values()]
        known = all(entry.shape == shape and len(entry.features) for entry in chosen)
        return cls(
            positions=[positions[number] for number in first.values()],
            digests=list(first),
            counts=list(Counter(every).values()),
            shape=(shape[0], shape[1], shape[2]),
            every=every,
            in_bytes=all(entry.in_bytes for entry in chosen),
            features=Features(np.stack([entry.features for entry in chosen]), feature_count(shape)[0])
            if known
            else None,
            stamps=[stamps[number] for number in first.values()] if stamps else [],
        )

    def take(self, indices: Sequence[int]) -> Catalogue:
        """Of some of the distinct images, each once."""
        digests = [self.digests[i] for i in indices]
        return replace(
            self,
            positions=[self.positions[i] for i in indices],
            digests=digests,
            counts=[1] * len(digests),
            every=digests,
            features=None if self.features is None else self.features.take(list(indices)),
            stamps=[self.stamps[i] for i in indices] if self.stamps else [],
        )


def _one_shape(
    found: Sequence[Entry | ProbeError], reader: ImageReader, positions: Sequence[int]
) -> tuple[tuple[int, ...] | None, list[str]]:
    """The shape of all images, RGB where some are, and what is wrong with others."""
    shape: tuple[int, ...] | None = None
    problems: list[str] = []
    for position, entry in zip(positions, found, strict=True):
        if isinstance(entry, ProbeError):
            problems.append(str(entry))
            continue
        shape = shape or entry.shape
        if entry.shape != shape:
            if entry.shape[1:] != shape[1:] or {entry.shape[0], shape[0]} != {1, 3}:
                problems.append(_of_another_size(reader.name(position), entry.shape, shape))
                continue
            shape = (3, *shape[1:])
    return shape, problems


def _of_another_size(name: str, shape: tuple[int, ...], before: tuple[int, ...]) -> str:
    side = min(before[1:])
    return (
        f"{name} has shape {shape}, the images before it {before}. Resize it. All can be read as training did: "
        f"ProbeSet(..., resize={side}, crop={side}), or diffprivacy_resize and diffprivacy_crop."
    )


def _entries(reader: ImageReader, positions: Sequence[int], sizing: Sizing | None) -> list[Entry | ProbeError]:
    """What is kept of every image, or what is wrong with it."""

    def entry(position: int) -> Entry | ProbeError:
        try:
            return Entry.of(sized(reader, position, sizing))
        except ProbeError as error:
            return error

    session = options.active()
    with _Watch(session, reader.origin, len(positions)) as watch:
        if session is None or not isinstance(reader, FileReader):
            return [watch.seen(found) for found in in_threads(entry, positions, reader)]
        return _kept_by_file(reader, positions, sizing, entry, session_store(session), watch)


def _kept_by_file(
    reader: FileReader,
    positions: Sequence[int],
    sizing: Sizing | None,
    entry: Callable[[int], Entry | ProbeError],
    store: Store,
    watch: _Watch,
) -> list[Entry | ProbeError]:
    """The same by the digests of the files: those that are known are not decoded again.

    Files whose digests begin alike are stored together, so that a file more or less changes one part alone.
    """
    parts = in_batches(len(positions), TOGETHER)
    found = in_threads(lambda part: [_file_digest(reader, position) for position in positions[part]], parts)
    digests = [digest for digests in found for digest in digests]
    depth = next(d for d in range(1, 9) if TOGETHER * 16**d >= len(set(digests)) or d == 8)
    order = sorted(range(len(digests)), key=digests.__getitem__)
    result: list[Entry | ProbeError | None] = [None] * len(positions)
    for _, group in groupby(order, key=lambda number: digests[number][:depth]):
        numbers = list(group)
        names = sorted({digests[number] for number in numbers})
        key = fingerprint(
            {
                "catalogue": VERSION,
                "files": names,
                "sizing": str(sizing),
                "allowed": allowed_pixels() or image_files.MAX_PIXELS,
                "decoders": [pillow_version, *(str(codecs.version(name)) for name in ("jpg", "zlib", "webp"))],
            }
        )
        kept = store.get(key)
        if kept is None:
            some = {digests[number]: positions[number] for number in numbers}
            made = dict(zip(names, map(watch.seen, in_threads(entry, [some[name] for name in names])), strict=True))
            good = [found for found in made.values() if isinstance(found, Entry)]
            if len(good) == len(made):
                store.put(key, _as_arrays(good), {"unit": f"catalogue of {len(good)} files", "model": "none"})
        else:
            made = dict(zip(names, map(watch.seen, _from_arrays(kept)), strict=True))
        for number in numbers:
            result[number] = made[digests[number]]
    return [found for found in result if found is not None]


def _file_digest(reader: FileReader, position: int) -> str:
    """sha256 of a file; of one that cannot be read its path's, so that reading it says what is wrong."""
    try:
        with reader.path(position).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return hashlib.sha256(str(reader.path(position)).encode()).hexdigest()


def _as_arrays(entries: Sequence[Entry]) -> Arrays:
    return {
        "shapes": np.array([entry.shape for entry in entries], dtype=np.int64),
        "digests": np.frombuffer(b"".join(e.digest + e.in_rgb for e in entries), dtype=np.uint8).copy(),
        "in_bytes": np.array([entry.in_bytes for entry in entries], dtype=np.uint8),
        "lengths": np.array([len(entry.features) for entry in entries], dtype=np.int64),
        "features": np.concatenate([entry.features for entry in entries]),
    }


def _from_arrays(arrays: Arrays) -> Iterator[Entry]:
    ends = np.cumsum(arrays["lengths"])[:-1]
    digests = arrays["digests"].reshape(-1, 64)
    rows = zip(arrays["shapes"], digests, arrays["in_bytes"], np.split(arrays["features"], ends), strict=True)
    for shape, digest, in_bytes, features in rows:
        both = digest.tobytes()
        yield Entry(tuple(int(side) for side in shape), both[:32], both[32:], bool(in_bytes), features)


@dataclass(slots=True)
class _Watch:
    """Shows how far a reading is, and ends it when the audit's time is over."""

    session: options.Session | None
    origin: str
    total: int
    done: int = 0
    bar: Any = field(default=None, init=False)

    def __enter__(self) -> _Watch:
        from tqdm import tqdm

        stream = self.session.progress if self.session else None
        self.bar = tqdm(
            total=self.total, desc=f"reading {self.origin}", unit="img", file=stream, disable=stream is None,
            leave=False, delay=2.0, mininterval=0.5 if stream is not None and stream.isatty() else 20.0,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def seen(self, found: Result) -> Result:
        """Count one image; raises BudgetSpent where the time is over before the last."""
        self.done += 1
        self.bar.update()
        budget = self.session.settings["budget"] if self.session else None
        if isinstance(budget, float) and self.session and self.done < self.total:
            taken = time.monotonic() - self.session.started
            if taken >= budget:
                raise BudgetSpent(
                    f"The time budget of {budget:.0f} s is spent and {self.total - self.done} images of {self.origin} "
                    "are not read yet. Run the same command again: it continues, nothing finished is lost.",
                    units=self.total - self.done,
                    seconds=None,
                )
        return found
