"""What do the committed results say, as a page? README.md, made from results/*.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.suite import COSTS, RESULTS, Outcome, committed, lines
from tests.benchmarks.table import cell

README: Final = Path(__file__).with_name("README.md")
HEAD: Final = """\
# Benchmarks

A script a question: `python -m tests.benchmarks.NAME --json PATH` prints its table and exits 1 when a figure misses its
target. The results of attacks and statistics on the example models lie in `results/`; those of which a paper has a
figure stand beside it in `docs/papers.md`, made by `python -m tests.benchmarks.papers`.

## What an audit costs

`python -m tests.benchmarks --json PATH [--only NAME ...]` runs the scripts below one after the other and sets every
figure beside the last committed one; `--keep` commits to the new ones. This page is made from `results/` alone, by
`python -m tests.benchmarks --readme`.
"""


def readme_text(results: Path = RESULTS) -> str:
    """The page for the committed results."""
    costs = [committed(name, results) for name in COSTS]
    parts = [HEAD, _figures(costs)]
    for outcome in costs:
        if outcome.content.get("rows"):
            parts += [_heading(outcome), _table(_columns(outcome.content["rows"]), outcome.content["rows"])]
    return "\n".join(parts)


def _heading(outcome: Outcome) -> str:
    ran_on = outcome.content.get("machine")
    where = f"\nMeasured on {ran_on}.\n" if ran_on else ""
    return f"### {outcome.name}\n\n{outcome.content['question']}\n{where}"


def _figures(costs: Sequence[Outcome]) -> str:
    columns = ("benchmark", "figure", "measured", "target", "state")
    rows = []
    for outcome in costs:
        rows += (
            [{"benchmark": outcome.name, "figure": outcome.problem, "state": "not met"}]
            if outcome.problem
            else lines(outcome, outcome)
        )
    return _table(columns, rows)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [columns, ["---"] * len(columns), *([_cell(row.get(column, "")) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _cell(value: Any) -> str:
    return cell(value).replace("|", "\\|")
