"""Where do prompts come from? A text file with one a line, or the caption column of a table; read whole, checked."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import ProbeError

COLUMNS: Final = ("caption", "text", "prompt")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file, in order.

    Args:
        path: .txt with one prompt a line (blank lines are left out), or .csv, .jsonl or .parquet with a column named
            caption, text or prompt.

    Raises:
        ProbeError: the file is missing, of another kind, damaged, or has no such column; the message names it.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ProbeError(f"Prompt file {str(path)!r} must end in {', '.join(_READERS)}.")
    if not path.is_file():
        raise ProbeError(f"Prompt file {str(path)!r} does not exist.")
    try:
        prompts = reader(path)
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise ProbeError(f"Prompt file {str(path)!r} cannot be read: {error}. Save it as UTF-8 text again.") from error
    if not prompts:
        raise ProbeError(f"Prompt file {str(path)!r} holds no prompts.")
    return prompts


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _csv(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return _column(csv.DictReader(file), path)


def _jsonl(path: Path) -> list[str]:
    return _column((json.loads(line) for line in _lines(path)), path)


def _parquet(path: Path) -> list[str]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise ProbeError(
            f"Reading {str(path)!r} needs the package pyarrow. Install it, or save the file as CSV."
        ) from None
    try:
        names = parquet.read_schema(path).names
        table = parquet.read_table(path, columns=[name for name in names if name in COLUMNS])
    except ArrowInvalid as error:
        raise ProbeError(f"Prompt file {str(path)!r} is no parquet file: {error}.") from error
    return _column(table.to_pylist(), path)


def _column(rows: Iterable[Mapping[str, Any]], path: Path) -> list[str]:
    """The caption of each row."""
    prompts = []
    for number, row in enumerate(rows, start=1):
        found = [name for name in COLUMNS if isinstance(row, Mapping) and name in row]
        if not found:
            raise ProbeError(f"Row {number} of {str(path)!r} has none of the columns {', '.join(COLUMNS)}.")
        if not isinstance(row[found[0]], str) or not row[found[0]].strip():
            raise ProbeError(f"Row {number} of {str(path)!r} has no text in its column {found[0]!r}.")
        prompts.append(row[found[0]].strip())
    return prompts


_READERS: Final[Mapping[str, Callable[[Path], list[str]]]] = {
    ".txt": _lines,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
