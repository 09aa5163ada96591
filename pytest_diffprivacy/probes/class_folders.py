"""Class folders: a dataset sorted into one subfolder a class, as torchvision's ImageFolder and `datasets` read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.tables import CLASSES, some

FOLDER_INDEX: Final = "folder index"
FOLDER_NAME: Final = "folder name"
CHOICES: Final = (
    f"captions={FOLDER_INDEX!r} (or diffprivacy_captions) is the place of a subfolder among all, sorted by name, as "
    f"torchvision's ImageFolder and datasets count; {FOLDER_NAME!r} is the name itself, a class index where it is a "
    "number and a caption otherwise"
)


@final
@dataclass(frozen=True, slots=True)
class ClassFolders:
    """The subfolders of a folder that may be classes: several, and no image beside them.

    Attributes:
        root: the folder.
        images: its images.
        names: the subfolders in which they lie, sorted as text.
    """

    root: Path
    images: Sequence[Path]
    names: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, images: Sequence[Path]) -> ClassFolders:
        """Those of a folder; without names where they are none."""
        parts = [image.relative_to(root).parts for image in images]
        names = tuple(sorted({part[0] for part in parts}))
        return cls(root, images, names if len(names) > 1 and all(len(part) > 1 for part in parts) else ())

    def labels(self, column: str) -> list[Prompt]:
        """What the subfolder of each image stands for.

        Args:
            column: FOLDER_INDEX, FOLDER_NAME, or CLASSES: the index, where it cannot be mistaken.

        Raises:
            ProbeError: the images are not sorted into subfolders, or it is not clear what training took for a class.
        """
        self._check(column)
        numbers = [int(name) if re.fullmatch("[0-9]+", name) else None for name in self.names]
        if column == CLASSES and None not in numbers and numbers != list(range(len(numbers))):
            raise ProbeError(
                f"{str(self.root)!r} holds its images in subfolders {some(self.names)}, whose numbers are not their "
                f"places, and training may have taken either for the class. {CHOICES}."
            )
        meant: dict[str, Prompt] = {name: place for place, name in enumerate(self.names)}
        if column == FOLDER_NAME:
            meant = {name: name if n is None else n for name, n in zip(self.names, numbers, strict=True)}
        return [meant[image.parent.name] for image in self.images]

    def said(self, column: str) -> str:
        """What a record says of prompts that are folders."""
        return f"prompts are the {'names' if column == FOLDER_NAME else 'places'} of its {len(self.names)} subfolders"

    def _check(self, column: str) -> None:
        if not self.names:
            raise ProbeError(
                f"{str(self.root)!r} must hold its images in several subfolders, one a class and no image beside them, "
                f"for captions={column!r}."
            )
        deeper = [str(image) for image in self.images if len(image.relative_to(self.root).parts) > 2]
        if deeper:
            raise ProbeError(
                f"{len(deeper)} of {len(self.images)} images lie deeper than one subfolder of {str(self.root)!r} "
                f"({some(deeper)}), where torchvision takes the first folder for the class and datasets the last. Name "
                "the folder right above the classes, or give a metadata.csv with a column label."
            )


def same_classes(members: Sequence[str], nonmembers: Sequence[str]) -> list[int]:
    """The place among the members' class folders of each of the non-members'.

    Raises:
        ProbeError: the non-members have a class that the members have not.
    """
    strange = [name for name in nonmembers if name not in members]
    if strange:
        raise ProbeError(
            f"The non-members lie in subfolders that the members do not have ({some(strange)}), so one class would be "
            f"asked for under two numbers. Name them alike, or give captions={FOLDER_NAME!r}."
        )
    return [list(members).index(name) for name in nonmembers]
