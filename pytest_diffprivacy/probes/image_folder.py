"""Image folder: its images in natural order, the captions beside them, and what was left out."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from mimetypes import MimeTypes
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageFile

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.class_folders import ClassFolders
from pytest_diffprivacy.probes.image_files import FileReader
from pytest_diffprivacy.probes.tables import (
    CAPTION_COLUMNS,
    CLASSES,
    FILE_COLUMN,
    captioned_rows,
    captions_of,
    prompt_of,
    some,
)

METADATA: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
CAPTION_SUFFIXES: Final = (".txt", ".caption")

Tables = Mapping[Path, list[dict[str, Any]]]


def folder_images(folder: Path) -> FileReader:
    """Image files in a folder and its subfolders, in the natural order of their paths: 2.png before 10.png.

    Hidden files and folders, folders that are linked to twice and files that are no images are left out; the origin and
    one line of the log count them.

    Raises:
        ProbeError: there is no such folder, no image in it, one that Pillow cannot read, a broken link, links that go
            in a circle, or a row of metadata without its file.
    """
    if not folder.is_dir():
        raise ProbeError(f"Image folder {str(folder)!r} does not exist. Correct the path.")
    files, left = _walk(folder)
    found = [file for file in files if file.suffix.lower() in readable_suffixes()]
    others = [file for file in files if file.suffix.lower() not in readable_suffixes()]
    foreign = [str(file) for file in others if (MimeTypes().guess_type(file.name)[0] or "").startswith("image/")]
    if foreign:
        raise ProbeError(
            f"Pillow cannot read {len(foreign)} images of folder {str(folder)!r}: {some(foreign)}. Convert them to PNG "
            "as training read them, or take them out."
        )
    found.sort(key=lambda file: natural(file.relative_to(folder).as_posix()))
    texts = {file for file in others if file.suffix.lower() in CAPTION_SUFFIXES}
    stems = {file.with_suffix("") for file in found} if texts else set()
    beside: dict[Path, list[Path]] = {}
    for file in sorted(texts):
        if file.with_suffix("") in stems:
            beside.setdefault(file.with_suffix(""), []).append(file)
    spoken = {file for files in beside.values() for file in files}
    tables = {file: _rows(file) for file in others if file.name in METADATA}
    left.update(f"{f.suffix or 'without suffix'} file" for f in others if f not in spoken and f not in tables)
    line = ", ".join(f"{n} {what if n == 1 else _several(what)}" for what, n in sorted(left.items()))
    if not found:
        raise ProbeError(
            f"Image folder {str(folder)!r} holds no images (.png, .jpg or what else Pillow reads)"
            + (f", only {line}. " if line else ". ")
            + "Name the folder that holds them."
        )
    for path, rows in tables.items():
        _check_files_of(rows, path, found)
    origin = f"folder {folder.name}" + (f" (left out: {line})" if line else "")
    logging.getLogger(__name__).log(logging.WARNING if line else logging.INFO, "%s: %d images", origin, len(found))
    beside_them = partial(_captions, folder, found, tables, beside)
    return FileReader(found, origin, beside_them, ClassFolders.of(folder, found))


def _several(what: str) -> str:
    return re.sub("(file|folder)", r"\1s", what)


@cache
def readable_suffixes() -> frozenset[str]:
    """The suffixes of the formats that this Pillow can decode."""
    Image.init()
    stubs = [f for f, (opener, _) in Image.OPEN.items() if _is_stub(opener)]
    read = (set(Image.OPEN) - set(stubs)) | {"MPO"}  # which JPEG's reader opens
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in read)


def _is_stub(opener: object) -> bool:
    """Whether a format is only recognised by Pillow."""
    return isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)


def natural(text: str) -> tuple[list[str | int], str]:
    """A sort key that takes runs of digits as numbers."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", text))], text


def _walk(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The files of a folder and its subfolders, linked ones after its own, and what was left out by kind."""
    files: list[Path] = []
    left: Counter[str] = Counter()
    seen: set[Path] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        real = here.resolve()
        if real in (parent.resolve() for parent in here.absolute().parents):
            raise ProbeError(f"{str(here)!r} is a link to a folder that it lies in. Remove the link.")
        if real in seen:
            left["folder linked again"] += 1
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(here))
        except OSError as error:
            raise ProbeError(f"Folder {str(here)!r} cannot be read ({error}). Make it readable.") from error
        for entry in entries:
            if entry.name.startswith("."):
                left["hidden file" if entry.is_file() else "hidden folder"] += 1
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(Path(entry.path))
            elif entry.is_file():
                files.append(Path(entry.path))
            else:
                raise ProbeError(f"{entry.path!r} is a broken link or no file. Bring what it links to, or remove it.")
    return files, left


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = captioned_rows(path, repr(str(path)))
    if not all(isinstance(row, dict) for row in rows):
        raise ProbeError(f"{str(path)!r} cannot be read: every line must be a JSON object. Save it again.")
    return rows


def _place(path: Path, name: object) -> Path:
    """Where the file of a row lies; a letter with an accent may be one character or two (macOS)."""
    return Path(unicodedata.normalize("NFC", os.path.normpath(path.parent / str(name))))


def _check_files_of(rows: Sequence[Mapping[str, Any]], path: Path, images: Iterable[Path]) -> None:
    """Refuse metadata whose files are not all among the images."""
    names = [row[FILE_COLUMN] for row in rows if isinstance(row.get(FILE_COLUMN), str)]
    images = list(images)
    there = {_place(image, image.name) for image in images}
    missing = [name for name in names if _place(path, name) not in there]
    if missing:  # a linked folder is walked once, under one of its names
        real = {image.resolve() for image in images}
        missing = [name for name in missing if _place(path, name).resolve() not in real]
    if missing:
        raise ProbeError(
            f"{len(missing)} of {len(rows)} rows of {str(path)!r} name no image that is there: {some(missing)}. Fetch "
            "or restore the files, or remove the rows."
        )


def _captions(
    folder: Path, images: Sequence[Path], tables: Tables, beside: Mapping[Path, list[Path]], column: str | None
) -> list[Prompt] | None:
    """The caption of every image: from the nearest metadata file at or above it, or from the text file beside it."""
    named: dict[Path, tuple[Path, dict[Path, Prompt]]] = {}
    for path, rows in tables.items():
        columns = list(dict.fromkeys(chain.from_iterable(rows)))
        if FILE_COLUMN not in columns:
            raise ProbeError(
                f"{str(path)!r} must have a column {FILE_COLUMN!r} and rows, got {', '.join(columns) or 'nothing'}. "
                "Name it so, and separate the columns of a CSV by commas."
            )
        listed = captions_of(rows, path, column)
        if listed is None:
            continue
        if path.parent in named:
            both = " and ".join(sorted((path.name, named[path.parent][0].name)))
            raise ProbeError(f"{str(path.parent)!r} holds {both}. Keep one of them.")
        named[path.parent] = path, _captions_by_file(rows, listed, path)
    if named and beside and column is None:
        raise ProbeError(
            f"{str(folder)!r} holds captions in {some([p.name for p, _ in named.values()])} and in text files beside "
            "images, and training may have used either. Remove one, or name the column: ProbeSet(..., captions='text')."
        )
    if column == CLASSES and not named:
        return None
    if not named and not beside and tables and column is None:
        path, rows = next(iter(tables.items()))
        raise ProbeError(
            f"{str(path)!r} must have a column {', '.join(CAPTION_COLUMNS)} or {CLASSES} for captions, got "
            f"{', '.join(dict.fromkeys(chain.from_iterable(rows)))}. Rename it, or name it by ProbeSet(..., captions=)."
        )
    if not named:
        texts = [beside.get(image.with_suffix(""), []) for image in images]
        return [_caption_beside(*pair) for pair in zip(images, texts, strict=True)] if beside else None
    found: list[Prompt] = []
    missing: dict[Path, list[str]] = {}
    for image in images:
        place = next((parent for parent in image.parents if parent in named), folder)
        path, captions = named.get(place, next(iter(named.values())))
        caption = captions.get(_place(image, image.name))
        if caption is None:
            missing.setdefault(path, []).append(os.path.relpath(image, path.parent).replace(os.sep, "/"))
        else:
            found.append(caption)
    for path, names in missing.items():
        raise ProbeError(f"{len(names)} of {len(images)} images have no row in {str(path)!r}: {some(names)}.")
    return found


def _captions_by_file(rows: Sequence[Mapping[str, Any]], listed: Sequence[Prompt], path: Path) -> dict[Path, Prompt]:
    captions: dict[Path, Prompt] = {}
    for number, (row, caption) in enumerate(zip(rows, listed, strict=True), start=1):
        name = row.get(FILE_COLUMN)
        if not isinstance(name, str) or captions.setdefault(_place(path, name), caption) != caption:
            raise ProbeError(f"Row {number} of {str(path)!r} must name one file in {FILE_COLUMN!r}, each once.")
    return captions


def _caption_beside(image: Path, paths: Sequence[Path]) -> Prompt:
    """The one line of the text file with an image's name."""
    if len(paths) != 1:
        raise ProbeError(f"{str(image)!r} must have one text file beside it for its caption, got {len(paths)}.")
    lines = captioned_rows(paths[0], repr(str(paths[0])))
    if len(lines) != 1:
        raise ProbeError(f"{str(paths[0])!r} must hold one caption on one line, got {len(lines)} lines.")
    return prompt_of(lines[0], "text", repr(str(paths[0])))
