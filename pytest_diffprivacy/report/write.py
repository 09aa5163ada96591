"""Which document does a path ask for? The extension decides; a new format is one line here and one file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Run

FORMATS: Final[Mapping[str, str]] = {".html": "html", ".json": "json"}
"""Extension -> the module of this room whose `render_<module>(run)` makes the text; loaded when it is asked for."""


def write_report(run: Run, path: Path) -> None:
    """Write a report of a run; the file is there whole or not at all.

    Args:
        run: what was asked, judged and with what.
        path: where to; its extension chooses the format.

    Raises:
        UsageError: no format has this extension.
        EvidenceError: the file cannot be written.
    """
    name = FORMATS.get(_extension(path))
    if name is None:
        raise UsageError(
            f"The report's path must end in {' or '.join(FORMATS)}, got {path.name!r}. "
            "Choose the format by the extension."
        )
    render = getattr(import_module(f"{__package__}.{name}"), f"render_{name}")
    write_bytes(path, render(run).encode("utf-8"))


def _extension(path: Path) -> str:
    """The longest known extension that the name ends in, so that `.x.json` may differ from `.json`."""
    fitting = [extension for extension in FORMATS if path.name.lower().endswith(extension)]
    return max(fitting, key=len, default="")
