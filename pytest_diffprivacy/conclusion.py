"""Conclusion of a pytest run: its record, the documents that were asked for, and whether it ends red."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.baseline import update_baseline
from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.options import Settings
from pytest_diffprivacy.report.card import update_card
from pytest_diffprivacy.report.write import append_summary, write_report
from pytest_diffprivacy.statistics.verdict import Verdict


def is_red(run: Run, settings: Settings) -> bool:
    """Whether a run ends with exit code 1 even though pytest itself has found nothing wrong."""
    if run.verdict == "INCONCLUSIVE":
        refuted = any(c.verdict is Verdict.FAIL and c.node_id not in run.expected_failures for c in run.claims)
        return refuted or settings["inconclusive"] == "fail"
    if run.verdict == "INCOMPLETE" and settings["incomplete"] != "fail":
        watched = bool(settings["report"]) or os.environ.get("CI", "").lower() not in ("", "0", "false")
        return settings["incomplete"] == "auto" and watched
    return run.verdict != "PASS"


def new_baseline(run: Run, settings: Settings, folder: Path, *, chosen: bool) -> str:
    """Make a run the last release, and say so in a line.

    Raises:
        UsageError: the run is not whole, or nothing of it can be paired.
        EvidenceError: the baseline there cannot be read, or not be written.
    """
    if chosen:
        raise UsageError("The baseline was not updated: only a part of the audits was selected. Run all.")
    path = Path(str(settings["baseline"]))
    return f"baseline      {update_baseline(path, folder, run)} claims written to {path.name}"


def write_documents(run: Run, settings: Settings) -> Iterator[str]:
    """Write every document that was asked for; a line for each."""
    yield f"record        sha256 {record_digest(run)}"
    for path in settings.paths("report"):
        write_report(run, path)
        yield f"report        {path}"
    card, summary = settings.text("card"), os.environ.get("GITHUB_STEP_SUMMARY")
    if card is not None:
        update_card(run, Path(card))
        yield f"card          {card}"
    if summary:
        append_summary(run, Path(summary))
