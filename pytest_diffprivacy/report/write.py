"""Documents of a run on disk: reports, and the summary of a CI step."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.report.formats import format_of
from pytest_diffprivacy.report.formats.markdown import render

CLAIMS_IN_SUMMARY: Final = 200
"""A step summary holds one MiB: the worst claims are shown, and how many more there are."""


def write_report(run: Run, path: Path) -> None:
    """Write a report of a run; the file is there whole or not at all.

    Args:
        run: what was asked, judged and with what.
        path: where to; its extension chooses the format.

    Raises:
        UsageError: no format has this extension.
        EvidenceError: the file cannot be written.
    """
    document = format_of(path).render(run)
    write_bytes(path, document.encode("utf-8") if isinstance(document, str) else document)


def append_summary(run: Run, path: Path) -> None:
    """Append the verdicts as Markdown to the summary of a CI step, which others may have written to as well.

    Raises:
        EvidenceError: the file cannot be written.
    """
    text = render(run, most=CLAIMS_IN_SUMMARY)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise EvidenceError(
            f"Cannot write {str(path)!r}: {error.strerror or error}. Unset GITHUB_STEP_SUMMARY or make it writable."
        ) from error
