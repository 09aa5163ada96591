"""Tables: the rows of a CSV, JSON, JSON lines, text or parquet file, and the captions in them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt

CAPTION_COLUMNS: Final = ("caption", "text", "prompt")
FILE_COLUMN = "file_name"
SHOWN = 3


class Unreadable(Exception):
    """A file is no table of its kind; holds the reason alone, for a message that names the file and what it is for."""


def table_rows(path: Path, columns: Sequence[str] | None = None) -> list[Any]:
    """The rows of a table, a mapping each; in a .jsonl file whatever a line holds, in a .txt file the lines.

    Args:
        path: a .csv, .json, .jsonl, .txt or .parquet file.
        columns: those of a parquet file to read, as far as it has them; None: all.

    Raises:
        Unreadable: the file is damaged or no text.
        ProbeError: a CSV whose header does not name every column once, a .json file that is no list of objects, or
            pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            return _csv_rows(path)
        if suffix == ".parquet":
            parquet = pyarrow_parquet(path)
            wanted = columns and [name for name in parquet.read_schema(path).names if name in columns]
            return list(parquet.read_table(path, columns=wanted).to_pylist())
        text = path.read_text(encoding="utf-8")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if suffix in (".txt", ".jsonl"):
            return [json.loads(line) for line in lines] if suffix == ".jsonl" else lines
        rows = json.loads(text)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ProbeError(f'{path.name} must be a list of objects like {{"id": ..., "score": ...}}.')
        return rows
    except ProbeError:
        raise
    except (ValueError, csv.Error) as error:  # among them UnicodeDecodeError, JSONDecodeError and ArrowInvalid
        raise Unreadable(error) from error


def captioned_rows(path: Path, what: str) -> list[Any]:
    """The rows of a table that a message calls `what`.

    Raises:
        ProbeError: the table cannot be read.
    """
    try:
        return table_rows(path, CAPTION_COLUMNS)
    except (Unreadable, OSError) as error:
        if path.suffix.lower() == ".parquet":
            raise ProbeError(f"{what} is no parquet file ({error}). Write it again.") from error
        raise ProbeError(f"{what} cannot be read: {error}. Save it as UTF-8 text again.") from error


def pyarrow_parquet(path: Path) -> Any:
    """The module pyarrow.parquet, which is optional.

    Raises:
        ProbeError: it is not installed; the message names the file that needs it.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise ProbeError(
            f"Reading {str(path)!r} needs the package pyarrow. Install pytest-diffprivacy[datasets], or save the table "
            "as CSV."
        ) from None
    return parquet


def folder_captions(folder: Path, files: Sequence[str]) -> list[Prompt] | None:
    """The caption of every image file of a folder, as in Hugging Face ImageFolder.

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
    rows = captioned_rows(path, repr(str(path)))
    if not all(isinstance(row, dict) for row in rows):
        raise ProbeError(f"{str(path)!r} cannot be read: every line must be a JSON object. Save it again.")
    listed = captions_of(rows, path)
    if listed is None:
        return None
    captions: dict[str, Prompt] = {}
    for number, (row, caption) in enumerate(zip(rows, listed, strict=True), start=1):
        name = row.get(FILE_COLUMN)
        if not isinstance(name, str) or captions.setdefault(name, caption) != caption:
            raise ProbeError(f"Row {number} of {str(path)!r} must name one file in {FILE_COLUMN!r}, each once.")
    missing = [name for name in files if name not in captions]
    if missing:
        raise ProbeError(f"{len(missing)} of {len(files)} images have no row in {str(path)!r}: {some(missing)}.")
    return [captions[name] for name in files]


def captions_of(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Prompt] | None:
    """The caption of every row: a text that says something, or a class index; None without such a column.

    Raises:
        ProbeError: a row has neither; the message names it.
    """
    column = next((name for name in CAPTION_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        return None
    captions: list[Prompt] = []
    for number, row in enumerate(rows, start=1):
        value = row.get(column)
        if isinstance(value, str) and value.strip():
            captions.append(value.strip())
        elif isinstance(value, int) and not isinstance(value, bool):
            captions.append(value)
        else:
            raise ProbeError(
                f"row {number} of {str(path)!r} must have a caption in its column {column!r}, got {value!r}. "
                "Complete or remove it."
            )
    return captions


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets begin with a byte order mark
        reader = csv.DictReader(stream)
        rows: list[dict[Any, Any]] = list(reader)
    header = list(reader.fieldnames or ())
    if len(set(header)) < len(header):
        raise ProbeError(f"{path.name} must name every column once, got {', '.join(header)}.")
    if any(None in row for row in rows):
        raise ProbeError(f"{path.name} must have a name for every column, got more cells than {', '.join(header)}.")
    return rows


def some(names: Sequence[str]) -> str:
    """The first of many names, for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
