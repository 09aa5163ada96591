"""docs/papers.md and its pictures, made from the committed results alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks import ROOT
from tests.benchmarks.papers.draw import made_of, made_of_drawn, picture
from tests.benchmarks.papers.figure import Finding, PaperFigure, Results, figures
from tests.benchmarks.suite import RESULTS

PAGE: Final = ROOT / "docs" / "papers.md"
PICTURES: Final = ROOT / "docs" / "papers"
HEAD: Final = """\
# The papers' figures, here

What the source papers plot, made again by this package on the [example models](tutorial.md), which are small enough for
a laptop: order and shape can be expected to agree, sizes cannot. The paper's own numbers stand beside ours where a
source that we could read prints them. Bounds in brackets are one-sided, 95 % each. A disagreement says what was
measured about its cause, or that it is unexplained; undecided is what was not tested or what the bounds leave open.

```sh
python -m tests.benchmarks.papers              # all of it: hours; a killed run continues where it was
python -m tests.benchmarks.papers --only NAME  # one figure
python -m tests.benchmarks.papers --page       # this page from tests/benchmarks/results/*.json alone
```

A figure is one file in `tests/benchmarks/papers/figures/`.
"""
STATES: Final = {True: "agrees", False: "differs", None: "undecided"}


def write() -> None:
    """Write the page, and every picture that is not of the committed results."""
    results = committed()
    PICTURES.mkdir(exist_ok=True)
    drawn = set()
    for figure in figures():
        if is_measured(figure, results):
            path = PICTURES / f"{figure.anchor}.svg"
            drawn.add(path)
            if not path.exists() or made_of_drawn(path) != made_of(figure, results):
                path.write_text(picture(figure, results), encoding="utf-8")
                print(f"drew {path.relative_to(ROOT)}", file=sys.stderr)
    for path in set(PICTURES.glob("*.svg")) - drawn:
        path.unlink()
    PAGE.write_text(page_text(results), encoding="utf-8")


def committed(folder: Path = RESULTS) -> Results:
    """The results that the figures use, as far as they are there."""
    names = sorted({step.result for figure in figures() for step in figure.steps})
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def is_measured(figure: PaperFigure, results: Results) -> bool:
    """Whether all its results are there."""
    return all(step.result in results for step in figure.steps)


def page_text(results: Results) -> str:
    """The page: what agrees at a glance, then a section a figure."""
    parts = [HEAD, _overview(results)]
    parts += [_section(figure, results) for figure in figures()]
    return "\n".join(parts)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |\n" for line in lines)


def _overview(results: Results) -> str:
    rows = []
    for figure in figures():
        link = f"[{figure.paper}, {figure.place}](#{figure.anchor})"
        if not is_measured(figure, results):
            rows.append([link, figure.title, "not measured here"])
            continue
        states = [STATES[finding.agrees] for finding in figure.findings(results)]
        counted = (f"{states.count(state)} {state}" for state in STATES.values() if state in states)
        rows.append([link, figure.title, ", ".join(counted)])
    return table(("figure", "what it plots", "its statements"), rows)


def _section(figure: PaperFigure, results: Results) -> str:
    lines = [f"({figure.anchor})=", "", f"## {figure.heading}", "", figure.shows, ""]
    lines += [f"**Theirs**: {figure.printed}", "", f"**Ours**: {figure.here}", ""]
    if is_measured(figure, results):
        lines += [f"![{figure.heading}](papers/{figure.anchor}.svg)", ""]
        if figure.table is not None:
            made = figure.table(results)
            lines += [table(made.columns, made.rows)]
        lines += [*map(_sentence, figure.findings(results)), ""]
        lines += [f"Made by {_made_by(figure)}.", ""]
    else:
        minutes = sum(step.minutes for step in figure.steps)
        command = f"`python -m tests.benchmarks.papers --only {figure.name}`"
        lines += [f"**Not measured here**: {command}, about {minutes:.0f} minutes on a core.", ""]
    return "\n".join(lines)


def _made_by(figure: PaperFigure) -> str:
    scripts = dict.fromkeys(step.script for step in figure.steps)
    kept = dict.fromkeys(step.result for step in figure.steps)
    files = ", ".join(f"`{name}.json`" for name in kept)
    return f"{', '.join(f'`tests/benchmarks/{name}.py`' for name in scripts)} ({files} in `tests/benchmarks/results/`)"


def _sentence(finding: Finding) -> str:
    why = f" {finding.why.rstrip('.')}." if finding.why else ""
    state = STATES[finding.agrees].capitalize()
    return f"- **{state}**: {finding.paper.rstrip('.')}. *Here*: {finding.here.rstrip('.')}.{why}"
