"""Who audits, and what for: what no measurement can say, declared in pyproject.toml and sealed with the run's record.

    [tool.diffprivacy.report]
    auditor = "A. Example"
    purpose = "Pictures for teaching; no diagnosis"
    training_images = 60000

Every field may be left out; what is left out is shown as missing. Standard library only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import UsageError

TABLE: Final = "tool.diffprivacy.report"
FIELDS: Final = {
    "auditor": "Auditor",
    "organisation": "Organisation",
    "independence": "Independence of the auditor from the developers",
    "purpose": "Purpose and intended use of the model",
    "model_release": "Release of the model",
    "base_model": "Base model, whose leakage is inherited",
    "training_cutoff": "Training data until",
    "training_images": "Training images",
    "repeated_images": "Training images that occur more than once",
    "provenance": "Where the training data come from",
    "personal_data": "Personal data among them",
    "limits": "Why these limits",
    "deployment": "Measures of the deployment (rate limits, filters)",
    "residual_risk": "Residual risk",
    "next_audit": "When to audit again",
    "retention": "How long this record is kept",
}
"""Key of the table -> what a reader sees."""
COUNTS: Final = frozenset({"training_images", "repeated_images"})


def find_declaration(*folders: Path) -> dict[str, str]:
    """The declaration of the first pyproject.toml that has one, from each folder upward to the top of its repository.

    Returns:
        Every field in the order of `FIELDS`, with "" where it is missing; empty where nothing is declared.

    Raises:
        UsageError: a file or its table cannot be read; the message names what is wrong.
    """
    for folder in folders:
        for place in (folder, *folder.parents):
            found = read_declaration(place / "pyproject.toml")
            if found or (place / ".git").exists():
                break
        if found:
            return found
    return {}


def read_declaration(path: Path) -> dict[str, str]:
    """The declaration of a pyproject.toml; empty where there is no such file or table.

    Raises:
        UsageError: the table has another field, or a value that does not fit its field.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # /dev/null may stand for an ini file
        return {}
    if b"diffprivacy" not in content:
        return {}
    try:
        tool: Any = tomllib.loads(content.decode()).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} cannot be read as TOML: {error}. Correct it.") from None
    table = tool.get("diffprivacy", {}).get("report", {})
    if not isinstance(table, dict):
        raise UsageError(f"[{TABLE}] must be a table of fields, got {table!r}.")
    if unknown := sorted(set(table) - set(FIELDS)):
        raise UsageError(f"[{TABLE}] must use the fields {', '.join(FIELDS)}, got {', '.join(unknown)}.")
    return dict(_texts(table)) if table else {}


def _texts(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in FIELDS:
        value = table.get(name, "")
        if name in COUNTS and value != "":
            if type(value) is not int or value < 0:
                raise UsageError(f"[{TABLE}] {name} must be a whole number >= 0, got {value!r}.")
        elif not isinstance(value, str):
            raise UsageError(f"[{TABLE}] {name} must be a text, got {value!r}.")
        yield name, str(value).strip()
    images, repeated = table.get("training_images"), table.get("repeated_images")
    if images is not None and repeated is not None and repeated > images:
        raise UsageError(f"[{TABLE}] repeated_images must be at most training_images, got {repeated} of {images}.")
