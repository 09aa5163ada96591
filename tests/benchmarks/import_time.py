"""How long until something happens? What the plugin costs a suite that has it installed, and how fast commands start.

The import of the plugin beside that of pytest, by `-X importtime` in processes of their own; the slowest modules that
the plugin brings; then what each command takes from the shell for a small record, loading of Python included, in
processor time of its process. Medians of seven, after a first start that compiles the modules, as an installation does.

Targets: the plugin takes at most a third of pytest's own import and loads none of the heavy libraries; `verdict`,
`verify` and `render` in under 1 s.

    python -m tests.benchmarks.import_time --json tests/benchmarks/results/import_time.json
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median_low
from typing import Any

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_json
from tests.benchmarks.table import Figure, arguments, conclude
from tests.report.finished import finished_run

PLUGIN = "pytest_diffprivacy.plugin"
HEAVY = ("torch", "numpy", "scipy", "sklearn", "diffusers", "transformers", "matplotlib", "pydantic", "PIL")
STARTS, SHOWN = 7, 3
SHARE, COMMAND = 1.0 / 3.0, 1.0
COLUMNS = ("what", "ms")
LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|\s*(\S+)")


def imported() -> dict[str, tuple[float, float]]:
    """Own and cumulative milliseconds of every module that pytest and then the plugin load."""
    code = f"import pytest; import {PLUGIN}"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    return {name: (int(own) / 1e3, int(total) / 1e3) for own, total, name in LINE.findall(result.stderr)}


def command_row(command: str, run: Run, folder: Path) -> dict[str, Any]:
    """A command from the shell."""
    more = {"render": ["again.json"], "verify": ["--evidence", "."], "verdict": []}[command]
    seconds = []
    for _ in range(STARTS + 1):
        before = children_seconds()
        subprocess.run(
            [sys.executable, "-m", "pytest_diffprivacy", command, "audit.json", *more],
            cwd=folder,
            env=environment(),
            capture_output=True,
            check=False,
        )
        seconds.append(children_seconds() - before)
    return {"what": f"python -m pytest_diffprivacy {command}", "ms": 1e3 * median_low(seconds[1:])}


def environment() -> dict[str, str]:
    """This process's own, in which compiled modules may be kept."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def children_seconds() -> float:
    """Processor time of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure, print and judge."""
    given = arguments(__doc__ or "").parse_args()
    imported()
    runs = sorted((imported() for _ in range(STARTS)), key=lambda modules: modules[PLUGIN][1] / modules["pytest"][1])
    usual = runs[STARTS // 2]
    plugin, pytest = usual[PLUGIN][1], usual["pytest"][1]
    names = list(usual)
    brought = names[names.index("pytest") + 1 : names.index(PLUGIN) + 1]
    slowest = sorted(brought, key=lambda name: -usual[name][0])[:SHOWN]
    rows: list[dict[str, Any]] = [
        {"what": "import pytest", "ms": pytest},
        {"what": f"import {PLUGIN}", "ms": plugin},
        *({"what": f"of these, {name} itself", "ms": usual[name][0]} for name in slowest),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder, run = Path(name), finished_run()
        (folder / "audit.json").write_text(record_json(run))
        commands = [command_row(command, run, folder) for command in ("verdict", "verify", "render")]
    loaded = sorted({module.partition(".")[0] for module in usual} & set(HEAVY))
    figures = [
        Figure("import of the plugin over that of pytest", plugin / pytest, SHARE),
        Figure("heavy libraries that the plugin loads", len(loaded), 0),
        *(Figure(f"{row['what']}, seconds", row["ms"] / 1e3, COMMAND) for row in commands),
    ]
    return conclude(__doc__ or "", COLUMNS, rows + commands, {}, json_path=given.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
