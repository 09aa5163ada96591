"""Markdown: the verdicts as one table for a pull request or a job page, and what a reader must not miss."""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from pytest_diffprivacy.report.text import NOTHING, number, one_line, percent, plural, utc

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Claim, Run

ORDER: Final = 4
EXTENSION: Final = ".md"
HELP: Final = "pull requests: one table; appended to GitHub's step summary where `GITHUB_STEP_SUMMARY` is set"
LONGEST: Final = 400
MEANING: Final = (
    "A PASS speaks of the attacks that ran, at their limits, on these images. "
    "It does not say that no other attack works."
)
_ESCAPED: Final = {ord(mark): f"\\{mark}" for mark in string.punctuation if mark not in ".,-()@"} | {
    ord("@"): "\uff20"  # full-width: no mention of anybody
}


def render(run: Run, *, most: int | None = None) -> str:
    """The run as Markdown: verdict, a row a claim with the worst first, what is missing, and the record's sha256.

    Args:
        run: the record.
        most: show at most this many claims and say how many were left out; None: all.
    """
    from pytest_diffprivacy.evidence.families import WORST_FIRST
    from pytest_diffprivacy.evidence.seals import record_digest

    claims = sorted(run.claims, key=lambda claim: WORST_FIRST.index(claim.verdict))
    shown = claims if most is None else claims[:most]
    lines = [
        f"## Training data audit: {plain(run.verdict)}",
        "",
        f"{plain(run.verdict_reason)}. Run {plain(run.run_id)}, finished {plain(utc(run.finished))}.",
        "",
        *claims_table(run, shown),
    ]
    if len(shown) < len(claims):
        lines += ["", f"{plural(len(claims) - len(shown), 'more claim')}, none of them worse, in the full report."]
    if run.missing:
        lines += ["", "Audit tests without a record, so the run is incomplete:", ""]
        lines += [f"- {plain(text)}" for text in run.missing]
    return "\n".join([*lines, "", f"{MEANING} Record: sha256 `{record_digest(run)}`.", ""])


def claims_table(run: Run, claims: Iterable[Claim]) -> list[str]:
    """The rows of a table, a claim each, with its header."""
    announced = run.expected_failures
    rows = [_row(claim, claim.node_id in announced) for claim in claims]
    head = "| Verdict | Test | Claim | Observed | Bounds | Limit | Model |"
    return [head, "|---|---|---|---|---|---|---|", *rows] if rows else ["No claim was judged."]


def _row(claim: Claim, announced: bool) -> str:
    e = claim.estimate
    expected = claim.verdict == "FAIL" and announced
    bounds = (
        f"{number(e.low, claim.limit)} to {number(e.high, claim.limit)} ({percent(e.confidence)} each)" if e else ""
    )
    cells = (
        claim.verdict.value + (", a demonstration" if expected else ""),
        claim.node_id or NOTHING,
        claim.sentence,
        number(e.value) if e else claim.reason,
        bounds or NOTHING,
        number(claim.limit),
        claim.model.name if claim.model else NOTHING,
    )
    return "| " + " | ".join(plain(cell) for cell in cells) + " |"


def plain(text: str) -> str:
    """Foreign text as text: on one line, no markup, no link, no mention, no HTML."""
    return one_line(text, LONGEST).translate(_ESCAPED)
