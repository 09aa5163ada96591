"""Which caption belongs to which image file? The metadata of an image folder, as in Hugging Face ImageFolder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.probes.prompt_files import COLUMNS

FILE_COLUMN = "file_name"
SHOWN = 3


def folder_captions(folder: Path, files: Sequence[str]) -> list[Prompt] | None:
    """The caption of every image file of a folder.

    Args:
        folder: may hold metadata.csv or metadata.jsonl, with a column file_name and one called caption, text or prompt.
        files: paths of the images in it, relative, with forward slashes.

    Returns:
        A caption for each file, in their order; None where the folder has no metadata file, or none with captions.

    Raises:
        ProbeError: the file is damaged, there are both, a file has two captions, or an image has none.
    """
    found = [path for path in (folder / "metadata.csv", folder / "metadata.jsonl") if path.is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise ProbeError(f"{str(folder)!r} holds metadata.csv and metadata.jsonl. Keep one of them.")
    (path,) = found
    try:
        rows = _rows(path)
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise ProbeError(f"{str(path)!r} cannot be read: {error}. Save it as UTF-8 text again.") from error
    column = next((name for name in COLUMNS if rows and name in rows[0]), None)
    if column is None:
        return None
    captions: dict[str, Prompt] = {}
    for number, row in enumerate(rows, start=1):
        name, caption = row.get(FILE_COLUMN), caption_of(row, column, f"row {number} of {str(path)!r}")
        if not isinstance(name, str) or captions.get(name, caption) != caption:
            raise ProbeError(f"Row {number} of {str(path)!r} must name one file in {FILE_COLUMN!r}, each once.")
        captions[name] = caption
    missing = [name for name in files if name not in captions]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise ProbeError(f"{len(missing)} of {len(files)} images have no row in {str(path)!r}: {shown}.")
    return [captions[name] for name in files]


def caption_of(row: Mapping[str, Any], column: str, where: str) -> Prompt:
    """The caption in a row: a text that says something, or a class index.

    Raises:
        ProbeError: it is neither; the message names the row by `where`.
    """
    value = row.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ProbeError(f"{where} must have a caption in its column {column!r}, got {value!r}. Complete or remove it.")


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("every line must be a JSON object")
    return rows
