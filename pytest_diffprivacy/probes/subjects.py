"""Subjects: whom each image of a source shows, from a list, a column of its metadata or the name of its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.evidence.private_ids import private_id
from pytest_diffprivacy.probes.image_files import FileReader
from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.sources import open_images
from pytest_diffprivacy.probes.tables import NameColumn

Named: TypeAlias = bool | str | Sequence[str | int]
"""True: the name of each image's folder; a text: a column; a list: one an image."""
MISSING: Final = (
    "This claim needs to know whom the images show. Give ProbeSet(..., subjects=...): True for the name of each "
    "image's folder, the name of a metadata column, or a list a side; or set diffprivacy_subjects."
)


def with_subjects(source: object, role: str, images: ImageSet, subjects: Named) -> ImageSet:
    """The set with whom each of its images shows.

    Args:
        source: what names the images, as in `open_images`.
        role: "member" or "non-member".
        images: the set that was made of it.
        subjects: where the names are.

    Raises:
        ProbeError: there is no such column, the images lie in one folder, or the list has another length.
    """
    if isinstance(source, ImageSet):
        if not isinstance(subjects, (bool, str)):
            return images.shown(_of_list(subjects, images.source_count, role))
        raise ProbeError("`subjects` must be a list for an ImageSet, whose source is already open. Give one an image.")
    reader = open_images(source)
    if isinstance(subjects, str):
        column = reader.captions(NameColumn(subjects))
        if column is None:
            raise ProbeError(f"{reader.origin} must have a column {subjects!r} for subjects, got no table beside it.")
        return images.shown([str(value) for value in column])
    if not isinstance(subjects, bool):
        return images.shown(_of_list(subjects, len(reader), role))
    if not isinstance(reader, FileReader):
        raise ProbeError(f"`subjects` must be a column or a list for {reader.origin}, which has no folders, got True.")
    folders = [Path(reader.name(index)).parent.name for index in range(len(reader))]
    if len(set(folders)) < 2:
        raise ProbeError(
            f"{reader.origin} must hold a subfolder for every subject, got all images in {folders[0]!r}. Sort them "
            "into one folder a subject, or give a column or a list."
        )
    return images.shown(folders)


def _of_list(subjects: Sequence[str | int], count: int, role: str) -> list[str]:
    if len(subjects) != count:
        raise ProbeError(f"`subjects` must be one for each of the {count} {role} images, got {len(subjects)}.")
    return [str(subject) for subject in subjects]


def by_side(subjects: object) -> tuple[Named | None, Named | None]:
    """What was given for members and for non-members: a pair of lists, or the same way for both.

    Raises:
        ProbeError: a list that is no pair of lists.
    """
    if subjects is None or subjects is False:
        return None, None
    if isinstance(subjects, (bool, str)):
        return subjects, subjects
    sides = list(subjects) if isinstance(subjects, (list, tuple)) else []
    if len(sides) == 2 and all(side is None or isinstance(side, (list, tuple, np.ndarray)) for side in sides):
        return sides[0], sides[1]
    raise ProbeError(
        "`subjects` must be True, the name of a column, or a pair (members', non-members') of lists, got "
        f"{type(subjects).__name__}. One subject an image; None for a side that is not there."
    )


class SubjectIndex:
    """The subjects of one side, in the order of the digests of their images, which is that of no file.

    Args:
        images: the side; it has subjects.
    """

    def __init__(self, images: ImageSet) -> None:
        names = images.subjects(range(len(images)))
        if names is None:
            raise ProbeError(MISSING)
        first = dict.fromkeys(names[i] for i in images.digest_order)
        self.names = tuple(first)
        place = {name: number for number, name in enumerate(first)}
        self.of_image: NDArray[np.int64] = np.array([place[name] for name in names], dtype=np.int64)
        self._digests, self._role = images.digests, images.role

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many images each has: int64 (subjects,)."""
        return np.bincount(self.of_image, minlength=len(self))

    def means(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the images of each: float64 (subjects,)."""
        return np.asarray(np.bincount(self.of_image, weights=scores, minlength=len(self)) / self.sizes)

    def largest(self, scores: NDArray[np.float64], most: int | None = None) -> NDArray[np.float64]:
        """Largest score over the images of each, or over the first `most` of them by digest: float64 (subjects,)."""
        found, seen = np.full(len(self), -np.inf), np.zeros(len(self), dtype=np.int64)
        for image in sorted(range(len(scores)), key=self._digests.__getitem__):
            owner = self.of_image[image]
            if most is None or seen[owner] < most:
                found[owner] = max(found[owner], scores[image])
            seen[owner] += 1
        return found

    @property
    def digests(self) -> list[bytes]:
        """sha256 of all images of each."""
        parts: list[list[bytes]] = [[] for _ in self.names]
        for digest, number in zip(self._digests, self.of_image.tolist(), strict=True):
            parts[number].append(digest)
        return [hashlib.sha256(b"".join(sorted(part))).digest() for part in parts]

    def ids(self) -> list[str]:
        """Names for records, never those of persons."""
        return [f"subject of {self._role}s {private_id(name.encode())}" for name in self.names]
