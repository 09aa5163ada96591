"""A figure of a paper: what it shows, which results show it here, how both are drawn, and where they agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final, TypeAlias

from matplotlib.figure import Figure as Picture

Results: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The JSON of each script, by the name of its file in `results/`."""
FOLDER: Final = Path(__file__).with_name("figures")
UNEXPLAINED: Final = "Unexplained"


@dataclass(frozen=True, slots=True)
class Step:
    """A result and how it is made.

    Attributes:
        result: the JSON's name in `results/`.
        script: module of `tests.benchmarks`.
        arguments: of the script; "{models}" is the folder of the models that `before` makes.
        before: commands, as arguments of Python, that make models which are not in the repository.
        minutes: how long all of it takes on a quiet core, about.
    """

    result: str
    script: str
    arguments: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    minutes: float = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement of the paper beside what is measured here.

    Attributes:
        paper: the statement.
        here: what the models here say about it.
        agrees: whether they agree; None: untested, or left open by the bounds.
        why: of a disagreement, what was measured about its cause; else that it is unexplained.

    Raises:
        ValueError: a disagreement says neither.
    """

    paper: str
    here: str
    agrees: bool | None
    why: str = ""

    def __post_init__(self) -> None:
        if self.agrees is False and not self.why:
            raise ValueError(f"`why` must say what explains the disagreement about {self.paper!r}, or {UNEXPLAINED!r}.")


@dataclass(frozen=True, slots=True)
class Table:
    """Paper and models side by side, as text."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """A figure or table of a paper and its counterpart here.

    Attributes:
        paper: authors and year.
        place: its number, as the paper has it.
        title: what is plotted.
        shows: what the paper's figure shows, in a sentence or two.
        printed: where the paper's numbers on this page come from, and how sure they are.
        here: on which models, with which numbers, ours is made.
        steps: what makes the results.
        methods: names in the package's registry that this figure measures; their rows of the reference lead here.
        draw: paints the paper's numbers beside ours.
        table: the same as numbers; None: the picture says all.
        findings: the comparison, from the results.
        name: the file's; set when it is found.
    """

    paper: str
    place: str
    title: str
    shows: str
    printed: str
    here: str
    steps: tuple[Step, ...]
    methods: tuple[str, ...]
    draw: Callable[[Picture, Results], None]
    findings: Callable[[Results], Sequence[Finding]]
    table: Callable[[Results], Table] | None = None
    name: str = field(default="", compare=False)

    @property
    def anchor(self) -> str:
        """Where the page's section is."""
        return self.name.replace("_", "-")

    @property
    def heading(self) -> str:
        """Of the page's section."""
        return f"{self.paper}, {self.place}: {self.title}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its one-sided 95 % bounds, as a table of results prints it."""

    value: float
    low: float
    high: float

    @classmethod
    def read(cls, text: str) -> Estimate:
        """Of "0.047 [0.017, 0.098]", or of "0.571 ± 0.003" with that error on either side.

        Raises:
            ValueError: neither.
        """
        number = r"(-?\d+(?:\.\d+)?)"
        if found := re.fullmatch(rf"{number} \[{number}, {number}\]", text):
            return cls(*map(float, found.groups()))
        if found := re.fullmatch(rf"{number} ± {number}", text):
            value, error = map(float, found.groups())
            return cls(value, value - error, value + error)
        raise ValueError(f"`text` must be a number with its bounds, got {text!r}. Write it by `table.bounds`.")

    @property
    def text(self) -> str:
        """As a page shows it."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@cache
def figures() -> tuple[PaperFigure, ...]:
    """Every figure, by paper and place."""
    found = []
    for module in iter_modules([str(FOLDER)]):
        figure: PaperFigure = import_module(f"{__package__}.figures.{module.name}").FIGURE
        object.__setattr__(figure, "name", module.name)
        found.append(figure)
    return tuple(sorted(found, key=lambda figure: (figure.paper, _numbers(figure.place))))


def _numbers(place: str) -> tuple[str, int]:
    """The key that puts Figure 5 before Figure 11."""
    found = re.search(r"\d+", place)
    return place.split()[0], int(found[0]) if found else 0
