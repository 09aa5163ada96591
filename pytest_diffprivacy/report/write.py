"""Documents of a run on disk: reports, the summary of a CI step, and a block of a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.options.outputs import BEGIN, END
from pytest_diffprivacy.report.formats import format_of
from pytest_diffprivacy.report.formats.markdown import MEANING, claims_table, plain, render
from pytest_diffprivacy.report.text import utc

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


def update_card(run: Run, path: Path) -> None:
    """Write the audit into a model card, in place of the block of an earlier run, or at its end.

    Args:
        run: the record.
        path: a Markdown file; made if there is none. Nothing outside the block changes.

    Raises:
        UsageError: the file has one mark without the other, or one of them twice.
        EvidenceError: the file cannot be read as UTF-8 text, or not be written.
    """
    try:
        before = path.read_bytes().decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"Cannot read {str(path)!r} as UTF-8 text: {error}. Give a Markdown file.") from error
    write_bytes(path, with_block(before, card_block(run), path.name).encode("utf-8"))


def card_block(run: Run) -> str:
    """The block, its marks included."""
    lines = [BEGIN, "## Training data leakage audit", "", f"{plain(run.verdict)}: {plain(run.verdict_reason)}.", ""]
    lines += [*claims_table(run, run.claims), "", *_methods(run.claims), ""]
    lines += [f"{MEANING} Run {plain(run.run_id)}, finished {plain(utc(run.finished))}, record sha256"]
    return "\n".join([*lines, f"`{record_digest(run)}`.", END])


def _methods(claims: tuple[Claim, ...]) -> list[str]:
    titles = dict.fromkeys(f"{method.title} ({method.access})" for claim in claims for method in claim.methods)
    return [f"Attacks that ran: {', '.join(plain(title) for title in titles)}."] if titles else ["No attack ran."]


def with_block(text: str, block: str, name: str) -> str:
    """The text with the block in the place of an earlier one, or at its end; line endings are kept.

    Raises:
        UsageError: one mark without the other, or one of them twice.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    block = block.replace("\n", newline)
    counts = text.count(BEGIN), text.count(END)
    if counts == (0, 0):
        gap = "" if not text else newline if text.endswith(newline) else 2 * newline
        return text + gap + block + newline
    start, stop = text.find(BEGIN), text.find(END)
    if counts != (1, 1) or stop < start:
        raise UsageError(
            f"`diffprivacy_card` must name a file with one block from {BEGIN!r} to {END!r} or none, got {counts[0]} "
            f"and {counts[1]} such marks in {name!r}. Remove the broken block."
        )
    return text[:start] + block + text[stop + len(END) :]
