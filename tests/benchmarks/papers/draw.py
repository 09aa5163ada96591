"""How the papers' page is drawn: one style, intervals as whiskers, and an SVG that says what it was made of."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from pytest_diffprivacy.report.svg import FIRST, INK, SECOND, SOFT
from tests.benchmarks.papers.figure import FOLDER, Estimate, PaperFigure, Results

COLOURS: Final = (FIRST, SECOND, INK, SOFT)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
SIZE: Final = (8.0, 3.4)
STYLE: Final = {
    "svg.hashsalt": "papers",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.grid": True,
    "grid.color": "#dde2e8",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.facecolor": "#ffffff",
}


def picture(figure: PaperFigure, results: Results) -> str:
    """The figure as an SVG document that carries `made_of`."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        drawn = Picture(figsize=SIZE, layout="constrained")
        figure.draw(drawn, results)
        drawn.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Identifier": made_of(figure, results)}
        )
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def made_of(figure: PaperFigure, results: Results) -> str:
    """SHA-256 over the results and the code that draws them: a picture of other results has another."""
    used = {step.result: results[step.result] for step in figure.steps}
    digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode())
    for path in (FOLDER / f"{figure.name}.py", Path(__file__)):
        digest.update(path.read_text(encoding="utf-8").encode())
    return f"sha256:{digest.hexdigest()}"


def made_of_drawn(path: Path) -> str:
    """What a picture says it is made of."""
    found = re.search(r"sha256:[0-9a-f]{64}", path.read_text(encoding="utf-8"))
    return found[0] if found else ""


def beside(drawn: Picture, theirs: str, ours: str) -> tuple[Axes, Axes]:
    """Two panels: the paper's numbers and ours."""
    left, right = drawn.subplots(1, 2)
    left.set_title(theirs, fontsize=9.5)
    right.set_title(ours, fontsize=9.5)
    return left, right


def whiskers(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], number: int, **style: Any) -> None:
    """Points with their bounds; `number` chooses colour and marker."""
    values = [estimate.value for estimate in estimates]
    spread = [
        [max(e.value - e.low, 0.0) for e in estimates],
        [max(e.high - e.value, 0.0) for e in estimates],
    ]
    chosen = {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.5,
        "elinewidth": 1.0,
        "capsize": 2.5,
    } | style
    axes.errorbar(x, values, yerr=spread, **chosen)


def bars(axes: Axes, labels: Sequence[str], values: Sequence[float], shown: Sequence[str], **style: Any) -> None:
    """Horizontal bars with their numbers, the first on top."""
    places = range(len(labels))
    drawn = axes.barh(places, values, **({"color": FIRST, "height": 0.6} | style))
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.bar_label(drawn, shown, padding=3, fontsize=8.5)
    axes.margins(x=0.25)
