"""Seals: one text for a record, and one sha256 that covers everything below it, tie the files of a run together.

A claim's record holds the sha256 of its evidence files. The run's record holds all claims, and the sha256 of every
other file of its folder. The sha256 of the run's record, which is also that of the JSON report, therefore covers all of
them. Nothing inside the folder can protect that last number: whoever can change the folder can change it as well. It is
printed at the end of a run and is part of the in-toto statement; keep one of them elsewhere, or sign it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Record, Run

RUN_FILE: Final = "run.json"
SEAL_FILE: Final = "run.json.sha256"


def record_json(record: Record) -> str:
    """A record as JSON in ASCII, the same text on every machine; `model_validate_json` gives the same record back.

    Every field has a line of its own, and so has every record in a list. Whatever a terminal or browser could act on
    (control characters, text-direction marks) is written as an escape. A record of an earlier version, which lacks
    fields that this one has, keeps its text and its digest.
    """
    lines = [
        f"{_json(name)}: {_lines(value)}" for name, value in record.model_dump(mode="json", exclude_unset=True).items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n " + ",\n ".join(_json(item) for item in value) + "\n]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def record_digest(record: Record) -> str:
    """The sha256 of a record's JSON."""
    return hashlib.sha256(record_json(record).encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_run(run: Run, folder: Path) -> str:
    """Write the run's record and, beside it, its sha256 as `sha256sum -c` reads it.

    Returns:
        The sha256.
    """
    digest = record_digest(run)
    write_bytes(folder / RUN_FILE, record_json(run).encode("ascii"))
    write_bytes(folder / SEAL_FILE, f"{digest}  {RUN_FILE}\n".encode("ascii"))
    return digest
