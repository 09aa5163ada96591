"""Inline SVG: a matplotlib figure as part of a page, with a name and in the page's colours."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pytest_diffprivacy.report.text import one_line
from pytest_diffprivacy.visible import visible

# Every colour a figure uses, and the page's variable that may change it (dark scheme). Told apart by line style,
# hatching and marker as well; blue and vermilion of Okabe and Ito's palette differ for all common colour vision.
INK: Final = "#1a1f26"
SOFT: Final = "#4a5361"
GRID: Final = "#dde2e8"
FIRST: Final = "#0072b2"
SECOND: Final = "#b34700"
BAND: Final = "#c3dcec"
GROUND: Final = "#fefefe"
_VARIABLES: Final = {
    INK: "ink",
    SOFT: "soft",
    GRID: "grid",
    FIRST: "first",
    SECOND: "second",
    BAND: "band",
    GROUND: "ground",
}

Entries: TypeAlias = list[tuple[Any, str]]
"""What a legend shows, and what it is called."""

# Inches; 360 units wide, so that its 11-unit text can be read on a phone.
WIDTH: Final = 5.0
LEFT, RIGHT, TOP, DRAWN, BELOW = 0.775, 0.19, 0.08, 2.6, 0.62
"""Free on the left and right of the axes and above them, their height, and what their labels take below."""
ROW: Final = 0.225
"""A row of the legend."""
LONGEST_LABEL: Final = 50


@dataclass(frozen=True, slots=True)
class Words:
    """What a picture is called and what it shows, for those who do not see it."""

    title: str
    description: str


def draw(paint: Callable[[Axes], Entries], words: Words, name: str, *, columns: int) -> str:
    """Let a function draw on axes of our style, and return the picture as inline SVG.

    Args:
        paint: draws and returns what the legend names; foreign text on axes only through `plain_label`.
        words: accessible name and description.
        name: prefix of every id, unique in the document.
        columns: of the legend.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(_settings()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph")  # the browser has its own fonts
        figure = Figure(figsize=(WIDTH, TOP + DRAWN + BELOW))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        entries = paint(axes)
        below = BELOW + ROW * math.ceil(len(entries) / columns)
        height = TOP + DRAWN + below
        figure.set_size_inches(WIDTH, height)
        axes.set_position((LEFT / WIDTH, below / height, (WIDTH - LEFT - RIGHT) / WIDTH, DRAWN / height))
        _legend_below(figure, entries, columns)
        FigureCanvasSVG(figure).print_svg(buffer)
    return _inline(buffer.getvalue(), words, name)


@lru_cache(maxsize=1)
def _settings() -> dict[str, Any]:
    """Matplotlib's own defaults, whatever the user's matplotlibrc says, and ours."""
    ours = {
        "svg.fonttype": "none",
        "svg.hashsalt": "pytest-diffprivacy",
        "svg.id": None,
        "font.family": "DejaVu Sans",
        "font.size": 11.0,
        "hatch.linewidth": 0.8,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.formatter.use_locale": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
    }
    drawing = ("axes.", "figure.", "font.", "grid.", "hatch.", "legend.", "lines.", "patch.", "path.", "svg.", "text.")
    ticks = ("xtick.", "ytick.", "xaxis.", "yaxis.", "mathtext.")
    defaults = matplotlib.rcParamsDefault
    return {key: defaults[key] for key in defaults if key.startswith(drawing + ticks)} | {
        key: value for key, value in ours.items() if key in defaults
    }


def plain_label(text: str) -> str:
    """A foreign text as an axis can carry it; a dollar sign does not start a formula."""
    return one_line(text, LONGEST_LABEL).replace("$", r"\$")


def _legend_below(figure: Figure, entries: Entries, columns: int) -> None:
    """A legend below the picture; its texts may be foreign."""
    legend = figure.legend(
        [handle for handle, _ in entries],
        [f"entry {i}" for i in range(len(entries))],
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        ncols=columns,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.4,
        labelspacing=0.45,
        borderaxespad=0.2,
    )
    for written, (_, label) in zip(legend.get_texts(), entries, strict=True):
        written.set_parse_math(False)
        written.set_text(one_line(label, LONGEST_LABEL))


def _inline(document: str, words: Words, name: str) -> str:
    """Only the drawing: no prolog, DTD, metadata, global style, fixed size, namespaces or unused ids."""
    body = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", document, flags=re.DOTALL)
    body = body[body.index("<svg") :].rstrip()
    opening, drawing = body.split(">", 1)
    box = re.search(r'viewBox="([\d. ]+)"', opening)
    assert box is not None
    used = set(re.findall(r"url\(#([^)]+)\)", drawing)) | set(re.findall(r'href="#([^"]+)"', drawing))
    drawing = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", drawing)
    drawing = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", drawing)
    drawing = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', drawing)
    drawing = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var(--{variable}, {colour})")
    title, description = html.escape(visible(words.title)), html.escape(visible(words.description))
    return (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{title}" aria-describedby="{name}-desc">'
        f'<title>{title}</title><desc id="{name}-desc">{description}</desc>{drawing}'
    )
