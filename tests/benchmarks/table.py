"""How does a benchmark show its figures? As a table on the terminal, as JSON on request, and by its exit code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def conclude(
    description: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    targets: Mapping[str, bool],
    *,
    json_path: Path | None,
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Print the rows and whether each target was met; write JSON; return the exit code."""
    cells = [[_text(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    print(description.strip().splitlines()[0])
    for line in [list(columns), *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    for target, met in targets.items():
        print(f"{'met   ' if met else 'MISSED'}  {target}")
    if json_path is not None:
        content = {"question": description.strip().splitlines()[0], **(facts or {})}
        content |= {"rows": list(rows), "targets": dict(targets)}
        json_path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0 if all(targets.values()) else 1


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def bounds(value: float, low: float, high: float) -> str:
    """An estimate with its one-sided 95 % bounds."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
