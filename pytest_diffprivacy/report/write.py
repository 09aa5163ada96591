"""Which document does a path ask for? The extension decides; a new format is one line here and one file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report.card import update_card
from pytest_diffprivacy.report.markdown import render_markdown

FORMATS: Final[Mapping[str, str]] = {
    ".html": "html",
    ".json": "json",
    ".sarif": "sarif",
    ".md": "markdown",
    ".intoto.json": "intoto",
}
"""Extension -> the module of this room whose `render_<module>(run)` makes the text; loaded when it is asked for."""

CLAIMS_IN_SUMMARY: Final = 200
"""A step summary holds one MiB: the worst claims are shown, and how many more there are."""

__all__ = ["FORMATS", "append_summary", "update_card", "write_report"]


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
            f"The report's path must end in one of {', '.join(FORMATS)}, got {path.name!r}. "
            "Choose the format by the extension."
        )
    render = getattr(import_module(f"{__package__}.{name}"), f"render_{name}")
    write_bytes(path, render(run).encode("utf-8"))


def append_summary(run: Run, path: Path) -> None:
    """Append the verdicts as Markdown to the summary of a CI step, which others may have written to as well.

    Raises:
        EvidenceError: the file cannot be written.
    """
    text = render_markdown(run, most=CLAIMS_IN_SUMMARY)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise EvidenceError(
            f"Cannot write {str(path)!r}: {error.strerror or error}. Unset GITHUB_STEP_SUMMARY or make it writable."
        ) from error


def _extension(path: Path) -> str:
    """The longest known extension that the name ends in, so that `.x.json` may differ from `.json`."""
    fitting = [extension for extension in FORMATS if path.name.lower().endswith(extension)]
    return max(fitting, key=len, default="")
