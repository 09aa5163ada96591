"""Comparison of two audits: claims matched by test and kind, worse ones first; computes no statistic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_diffprivacy.evidence.families import WORST_FIRST
from pytest_diffprivacy.evidence.records import Claim, Run
from pytest_diffprivacy.report.text import number
from pytest_diffprivacy.visible import visible


@dataclass(frozen=True, slots=True)
class Changes:
    """Two runs beside each other.

    Attributes:
        lines: for a terminal: a line a claim, then what else was not the same.
        worse: claims whose verdict is worse than before, or which are gone.
    """

    lines: tuple[str, ...]
    worse: tuple[str, ...]


def compare_runs(before: Run, after: Run) -> Changes:
    """Compare two runs claim by claim. A claim that lost its PASS is worse, and so is one that is gone.

    The intervals of two runs do not say whether their difference is one: only a paired test on the same probes does.
    """
    old, new = _by_name(before), _by_name(after)
    rows = []
    for name in [*old, *(name for name in new if name not in old)]:
        label, rank = _change(old.get(name), new.get(name))
        rows.append((rank, f"{label:<13} {name}: {_values(old.get(name), new.get(name))}", name))
    rows.sort(key=lambda row: row[0])
    lines = [line for _, line, _ in rows]
    lines += [f"{'differs':<13} {text}" for text in _settings(before, after)]
    lines.append(f"run           {before.verdict} -> {after.verdict}")
    return Changes(tuple(visible(line) for line in lines), tuple(name for rank, _, name in rows if rank == 0))


def _by_name(run: Run) -> dict[str, Claim]:
    """Claims by test and kind; numbered where a test makes several of one kind."""
    found: dict[str, Claim] = {}
    for claim in run.claims:
        name = f"{claim.node_id or 'no test'} ({claim.kind})"
        number_, stem = 2, name
        while name in found:
            name, number_ = f"{stem} {number_}", number_ + 1
        found[name] = claim
    return found


def _change(old: Claim | None, new: Claim | None) -> tuple[str, int]:
    if old is None:
        return "new", 2
    if new is None:
        return "GONE", 0
    if old.verdict is new.verdict:
        return "same", 3
    worse = WORST_FIRST.index(new.verdict) < WORST_FIRST.index(old.verdict)
    return ("WORSE", 0) if worse else ("better", 1)


def _values(old: Claim | None, new: Claim | None) -> str:
    return " -> ".join(_value(claim) for claim in (old, new) if claim is not None)


def _value(claim: Claim) -> str:
    e = claim.estimate
    observed = f" {number(e.value)} [{number(e.low)}, {number(e.high)}]" if e else ""
    return f"{claim.verdict.value}{observed} limit {number(claim.limit)}"


def _settings(before: Run, after: Run) -> Iterator[str]:
    """Whatever else was not the same, so that nobody takes two different questions for one."""
    for (what, old), (_, new) in zip(_circumstances(before), _circumstances(after), strict=True):
        for name in sorted(set(old) | set(new)):
            if old.get(name) != new.get(name):
                yield f"{what} {name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"


def _circumstances(run: Run) -> Iterator[tuple[str, Mapping[str, str]]]:
    claims = run.claims
    yield "model", {claim.model.name: claim.model.digest[:16] for claim in claims if claim.model}
    yield "images", {f"{side.role}, {side.origin}": side.digest[:16] for claim in claims for side in claim.probes}
    yield "option", {option.name: option.value for option in run.options if option.name != "report"}
    yield "version", run.versions
