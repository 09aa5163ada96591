"""Files of prompts: a text a line, or a column of a table."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Final

from pytest_diffprivacy.errors import ProbeError
from pytest_diffprivacy.probes.tables import CAPTION_COLUMNS, caption_column, captioned_rows

SUFFIXES: Final = (".txt", ".csv", ".jsonl", ".parquet")


def read_prompts(path: Path, column: str | None = None) -> list[str]:
    """The prompts of a file, in order.

    Args:
        path: .txt with one prompt a line (blank lines are left out), or .csv, .jsonl or .parquet with a column named
            caption, text or prompt.
        column: the one that holds them; None: the only one of these.

    Raises:
        ProbeError: the file is missing, of another kind, damaged, or has no such column, or several; the message names
            it.
    """
    what, suffix = f"Prompt file {str(path)!r}", path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ProbeError(f"{what} must end in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ProbeError(f"{what} does not exist. Correct the path.")
    rows = captioned_rows(path, what)
    if suffix != ".txt":
        names = dict.fromkeys(chain.from_iterable(row for row in rows if isinstance(row, Mapping)))
        columns = CAPTION_COLUMNS if column is None else (column,)
        found = caption_column([n for n in names if n in columns], what, column)
        rows = [_prompt(row, found, f"Row {n} of {str(path)!r}") for n, row in enumerate(rows, 1)]
    if not rows:
        raise ProbeError(f"{what} holds no prompts. Write at least one.")
    return rows


def _prompt(row: object, column: str | None, where: str) -> str:
    if not isinstance(row, Mapping) or column not in row:
        raise ProbeError(f"{where} has none of the columns {column or ', '.join(CAPTION_COLUMNS)}. Add one.")
    text = row[column]
    if not isinstance(text, str) or not text.strip():
        raise ProbeError(f"{where} has no text in its column {column!r}. Fill or remove it.")
    return text.strip()
