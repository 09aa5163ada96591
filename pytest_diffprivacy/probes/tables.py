"""Tables: the rows of a CSV, JSON, JSON lines, text or parquet file, and the captions in them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import index
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.models.protocols import Prompt

CAPTION_COLUMNS: Final = ("caption", "text", "prompt")
LABEL_COLUMNS: Final = ("label", "class")
LIKE_LABELS: Final = frozenset(
    ("labels", "classes", "class_id", "class_idx", "class_label", "label_id", "target", "targets", "y", "category")
)
"""Names of columns that may hold class indices as well; a user has to say so."""
CLASSES: Final = " or ".join(LABEL_COLUMNS)
"""In the place of a column: the one that holds class indices, if there is one."""
FILE_COLUMN = "file_name"
SHOWN = 3


class Unreadable(Exception):
    """A file is no table of its kind; holds the reason alone, for a message that names the file and what it is for."""


def table_rows(path: Path) -> list[Any]:
    """The rows of a table, a mapping each; in a .jsonl file whatever a line holds, in a text file the lines.

    Args:
        path: a .csv, .json, .jsonl or .parquet file; any other is a text file.

    Raises:
        Unreadable: the file is damaged or no text.
        ProbeError: a CSV whose header does not name every column once, a .json file that is no list of objects, or
            pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return list(pyarrow_parquet(path).read_table(path).to_pylist())
        text = path.read_bytes().decode("utf-8-sig")  # editors of Windows begin with a byte order mark
        if "\0" in text:
            raise Unreadable("it holds zero bytes, as UTF-16 does")
        if suffix == ".csv":
            return _csv_rows(text, path)
        if re.search("\r(?!\n)", text):
            raise Unreadable("a line ends in a carriage return alone")
        # A prompt may hold U+2028; files that were put together hold a byte order mark before a line.
        lines = [line for line in (line.strip().lstrip("\ufeff") for line in re.split("\r?\n", text)) if line]
        if suffix != ".json":
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
        return table_rows(path)
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


class NameColumn(str):
    """A column of names, which stand as they are written: "007" is another person than "7"."""

    __slots__ = ()


def caption_column(names: Sequence[str], where: str, column: str | None = None) -> str | None:
    """The column that holds captions or, where there are none, class indices; None without either.

    Args:
        names: the columns that there are.
        where: what a message calls the table.
        column: the user's choice; None: the only one; CLASSES: the only one of class indices.

    Raises:
        ProbeError: there is no such column, or two that training may have used, or one with a name like it.
    """
    if column not in (None, CLASSES):
        if column not in names:
            raise ProbeError(f"{where} must have the column {column!r}, got {', '.join(names) or 'none of it'}.")
        return column
    for kind in (LABEL_COLUMNS,) if column == CLASSES else (CAPTION_COLUMNS, LABEL_COLUMNS):
        found = [name for name in kind if name in names]
        if len(found) > 1:
            raise ProbeError(
                f"{where} has the columns {' and '.join(found)}, and training may have used either. Name that one: "
                f"ProbeSet(..., captions={found[0]!r}) or diffprivacy_captions, PromptSet(..., column={found[0]!r})."
            )
        if found:
            return found[0]
    alike = [name for name in names if name.lower() in LIKE_LABELS | set(LABEL_COLUMNS)]
    if alike:
        raise ProbeError(
            f"{where} has no column {CLASSES}, and {', '.join(map(repr, alike))} may hold class indices. Rename it, or "
            f"name it: ProbeSet(..., captions={alike[0]!r}) or diffprivacy_captions."
        )
    return None


def captions_of(rows: Sequence[Mapping[str, Any]], path: Path, column: str | None = None) -> list[Prompt] | None:
    """The caption or class index of every row; None without such a column.

    Raises:
        ProbeError: a row has neither, or it is not clear which column to take; the message names it.
    """
    found = caption_column(list(dict.fromkeys(chain.from_iterable(rows))), repr(str(path)), column)
    if found is None:
        return None
    return [prompt_of(row.get(found), found, f"row {n} of {str(path)!r}") for n, row in enumerate(rows, start=1)]


def prompt_of(value: Any, column: str, where: str) -> Prompt:
    """A caption, or a class index: a whole number of Python, NumPy or torch, or its digits outside a text column.

    Raises:
        ProbeError: it is neither; the message starts with `where`.
    """
    text = value.strip() if isinstance(value, str) else ""
    if text and isinstance(column, NameColumn):
        return text
    if text and column not in CAPTION_COLUMNS and text.isdecimal():
        return int(text)
    if text and column not in LABEL_COLUMNS:
        return text
    try:
        if str(getattr(value, "dtype", type(value).__name__)) not in ("bool", "torch.bool"):
            return index(value)
    except (TypeError, ValueError):  # no whole number, or an array of several
        pass
    kind = "name" if isinstance(column, NameColumn) else "class index" if column in LABEL_COLUMNS else "caption"
    raise ProbeError(f"{where} must have a {kind} in its column {column!r}, got {value!r}. Complete or remove it.")


def _csv_rows(text: str, path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    rows: list[dict[Any, Any]] = list(reader)
    header = list(reader.fieldnames or ())
    if len(set(header)) < len(header):
        raise ProbeError(f"{path.name} must name every column once, got {', '.join(header)}.")
    longer = next((number for number, row in enumerate(rows, start=1) if None in row), None)
    if longer is not None:
        raise ProbeError(
            f"{path.name} must have a name for every column, got more cells than {', '.join(header)} in row {longer}. "
            "Put quotes around a text that holds commas."
        )
    return rows


def some(names: Sequence[str]) -> str:
    """The first of many names, for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
