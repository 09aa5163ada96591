"""What does a pull request or a job page show? The verdicts as one Markdown table, and what a reader must not miss."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report.text import NOTHING, number, one_line, percent, plural, utc
from pytest_diffprivacy.statistics.verdict import Verdict

WORST_FIRST: Final = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)
LONGEST: Final = 400
MEANING: Final = (
    "A PASS speaks of the attacks that ran, at their limits, on these images. "
    "It does not say that no other attack works."
)
_ESCAPED: Final = {ord(mark): f"\\{mark}" for mark in string.punctuation if mark not in ".,-()@"} | {
    ord("@"): "\uff20"  # full-width: no mention of anybody
}


def render_markdown(run: Run, *, most: int | None = None) -> str:
    """The run as Markdown: verdict, a row a claim with the worst first, what is missing, and the record's sha256.

    Args:
        run: the record.
        most: show at most this many claims and say how many were left out; None: all.
    """
    announced = {test.node_id for test in run.tests if test.expected_failure}
    claims = sorted(run.claims, key=lambda claim: WORST_FIRST.index(claim.verdict))
    shown = claims if most is None else claims[:most]
    lines = [
        f"## Training data audit: {plain(run.verdict)}",
        "",
        f"{plain(run.verdict_reason)}. Run {plain(run.run_id)}, finished {plain(utc(run.finished))}.",
        "",
        *claims_table(shown, announced),
    ]
    if len(shown) < len(claims):
        lines += ["", f"{plural(len(claims) - len(shown), 'more claim')}, none of them worse, in the full report."]
    if run.missing:
        lines += ["", "Audit tests without a record, so the run is incomplete:", ""]
        lines += [f"- {plain(text)}" for text in run.missing]
    return "\n".join([*lines, "", f"{MEANING} Record: sha256 `{record_digest(run)}`.", ""])


def claims_table(claims: Sequence[Claim], announced: set[str]) -> list[str]:
    """The rows of a table, a claim each, with its header."""
    if not claims:
        return ["No claim was judged."]
    head = "| Verdict | Claim | Observed | Bounds | Limit | Model |"
    return [head, "|---|---|---|---|---|---|", *(_row(claim, announced) for claim in claims)]


def _row(claim: Claim, announced: set[str]) -> str:
    e = claim.estimate
    expected = claim.verdict is Verdict.FAIL and claim.node_id in announced
    bounds = (
        f"{number(e.low, claim.limit)} to {number(e.high, claim.limit)} ({percent(e.confidence)} each)" if e else ""
    )
    cells = (
        claim.verdict.value + (", expected by its test" if expected else ""),
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
