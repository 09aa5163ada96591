"""How does a benchmark show its figures? As a table on the terminal, as JSON on request, and by its exit code."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure with its target.

    Attributes:
        what: what was measured, with its unit.
        value: the measurement.
        limit: its target.
        bound: on which side of the target it has to be.
    """

    what: str
    value: float
    limit: float
    bound: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool:
        """Whether the target is met; NaN meets none."""
        return self.value <= self.limit if self.bound == "at most" else self.value >= self.limit

    @property
    def target(self) -> str:
        """The target in words."""
        return f"{self.bound} {self.limit:g}"


def conclude(
    description: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    targets: Mapping[str, bool],
    *,
    json_path: Path | None,
    facts: Mapping[str, Any] | None = None,
    figures: Sequence[Figure] = (),
) -> int:
    """Print the rows and whether each target was met; write JSON; return the exit code.

    Args:
        description: the script's docstring; its first line is the question.
        columns: keys of the rows, in the order of the printed table.
        rows: what was measured.
        targets: whether each was met, for what is more than one figure against one number.
        json_path: where the JSON goes; None: nowhere.
        facts: what else the JSON says.
        figures: figures with their targets; each is a target as well.
    """
    print(description.strip().splitlines()[0])
    print("\n".join(aligned(columns, rows)))
    reached = dict(targets) | {f"{figure.what}: {figure.target}": figure.met for figure in figures}
    shown = {f"{figure.what}: {figure.target}": f": {figure.value:.4g}" for figure in figures}
    for target, met in reached.items():
        print(f"{'met   ' if met else 'MISSED'}  {target}{shown.get(target, '')}")
    if json_path is not None:
        content = {"question": description.strip().splitlines()[0], "machine": machine(), **(facts or {})}
        content |= {"rows": list(rows), "targets": reached}
        if figures:
            content["figures"] = [
                {"what": figure.what, "value": figure.value, "limit": figure.limit, "bound": figure.bound}
                for figure in figures
            ]
        json_path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0 if all(reached.values()) else 1


def aligned(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of a table with its columns one below the other."""
    cells = [[cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [list(columns), *cells]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def bounds(value: float, low: float, high: float) -> str:
    """An estimate with its one-sided 95 % bounds."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def cell(value: Any) -> str:
    """A value as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> str:
    """What a figure depends on besides the code."""
    cores = os.cpu_count()
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, torch {version('torch')}"
