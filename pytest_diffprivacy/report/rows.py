"""Rows of the page's tables: controls, the family of claims and the last release, failures first, and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_diffprivacy.evidence.records import (
    Comparison,
    ComparisonOutcome,
    Control,
    ControlOutcome,
    Estimate,
    Run,
    Table,
)
from pytest_diffprivacy.evidence.worst_case import worst_cases
from pytest_diffprivacy.report.text import NOTHING, number, percent, plural, whole

MOST: Final = 200
MOST_FILES: Final = 300
_CONTROLS: Final = (ControlOutcome.FAILED, ControlOutcome.HELD, ControlOutcome.NOT_APPLICABLE)
_COMPARED: Final = (
    ComparisonOutcome.WORSE,
    ComparisonOutcome.UNDECIDED,
    ComparisonOutcome.NOT_COMPARABLE,
    ComparisonOutcome.NOT_WORSE,
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table, and what was left out."""

    rows: tuple[tuple[str, ...], ...]
    note: str


def recognised_rows(run: Run) -> Rows:
    """For each model and set of probes the members that any attack of the run recognises, by id."""
    rows = []
    for case in worst_cases(run.claims):
        share, shown = case.share, ", ".join(case.ids[:MOST])
        more = f" and {len(case.ids) - MOST} more" if len(case.ids) > MOST else ""
        bounds = f"{percent(share.value)} [{percent(share.low)}, {percent(share.high)}]"
        rows.append(
            (
                case.model or "scores made elsewhere", plural(len(case.attacks), "attack"), share.counts, bounds,
                percent(case.fpr), (shown + more) or NOTHING,
            )
        )  # fmt: skip
    return Rows(tuple(rows), "")


def control_rows(run: Run) -> Rows:
    """Every control once, with how many claims rest on it; failed ones first."""
    found: dict[Control, int] = {}
    for claim in run.claims:
        for control in dict.fromkeys(claim.controls):
            found[control] = found.get(control, 0) + 1
    ordered = sorted(found.items(), key=lambda pair: _CONTROLS.index(pair[0].outcome))
    rows = [
        (f"{c.name} ({c.kind})", c.outcome.value, _lines(c.done, c.estimate), c.meaning, plural(count, "claim"))
        for c, count in ordered
    ]
    return _limited(rows, "controls")


def family_rows(run: Run) -> Rows:
    """The claims of the family with their p-values, the smallest adjusted ones first."""
    if run.family is None:
        return Rows((), "")
    ordered = sorted(run.family.members, key=lambda member: (member.adjusted, member.p_value))
    rows = [(m.claim, number(m.p_value), number(m.adjusted), "yes" if m.refuted else "no") for m in ordered]
    return _limited(rows, "claims")


def comparison_rows(run: Run) -> Rows:
    """Every claim that was compared with the last release, worse ones first."""
    pairs = [(claim, claim.comparison) for claim in run.claims if claim.comparison is not None]
    pairs.sort(key=lambda pair: _COMPARED.index(pair[1].outcome))
    rows = [
        (
            f"{claim.sentence}\n{c.measured}",
            f"{c.outcome.value}{' (the run fails on it)' if c.fails else ''}: {c.reason}",
            f"{number(c.old)} / {number(c.new)}",
            _bounds(c.increase),
            _flags(c),
        )
        for claim, c in pairs
    ]
    return _limited(rows, "comparisons")


def _lines(done: str, estimate: Estimate | None) -> str:
    return done if estimate is None else f"{done}\n{_bounds(estimate)}"


def _flags(comparison: Comparison) -> str:
    if comparison.old_only is None or comparison.new_only is None:
        return NOTHING
    p = "" if comparison.p_worse is None else f", p = {number(comparison.p_worse)}"
    return f"{comparison.old_only} / {comparison.new_only}{p}"


def _bounds(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    bounds = f"{number(estimate.low)} to {number(estimate.high)}"
    return f"{estimate.name}: {number(estimate.value)}, one-sided {percent(estimate.confidence)} bounds {bounds}"


def _limited(rows: Sequence[tuple[str, ...]], what: str) -> Rows:
    left = len(rows) - MOST
    return Rows(tuple(rows[:MOST]), f"{left} more {what} are in the JSON report." if left > 0 else "")


def file_rows(run: Run) -> Table:
    """The sha256 of every file that the record names."""
    rows = [(artifact.path, artifact.sha256) for claim in run.claims for artifact in claim.artifacts]
    rows += [(f"runs/{run.run_id}/{name}", sha256) for name, sha256 in sorted(run.seals.items())]
    left = len(rows) - MOST_FILES
    caption = "Files below the evidence folder"
    if left > 0:
        caption += f", the first {MOST_FILES}; {whole(left)} more are in the JSON report"
    return Table(caption=caption, columns=("File", "sha256"), rows=tuple(rows[:MOST_FILES]))
