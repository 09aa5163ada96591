"""Does a killed run leave a PASS that it did not earn? Thirty runs, killed at a drawn moment, beside an earlier PASS.

SIGKILL, SIGTERM and SIGINT in turn; every third run has two workers. The moment is some time after the start, or after
the n-th of four claims was recorded. What is left is asked as a gate does: exit code, `verify`, `verdict`.

Targets: no run is released, and no report says PASS, unless every audit of it was judged; the earlier report is gone
as soon as the plugin is loaded. And that it is a test at all: every signal hit a run that was judging, and some runs
left a report of their own.

    python -m tests.benchmarks.kills --json PATH
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.table import arguments, conclude
from tests.plugin.kills import SIGNALS, Killings

KILLS, SEED = 30, 16
COLUMNS = ("signal", "workers", "hit", "exit_code", "claims", "report", "released", "wrong")


def main() -> int:
    """Kill, print and judge."""
    given = arguments(__doc__ or "").parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        runs = Killings(Path(name), SEED)
        for number in range(KILLS):
            workers = 2 if number // len(SIGNALS) % 3 == 2 else 1
            left = runs.kill(number, ("-n2",) if workers > 1 else ())
            rows.append(asdict(left) | {"workers": workers, "wrong": left.wrong})
    hit = {row["signal"] for row in rows if row["hit"] == "judging" and row["exit_code"] != 0}
    targets = {
        "nothing that was not earned is left": not any(row["wrong"] for row in rows),
        "every signal hit a run that was judging": hit == {sent.name for sent in SIGNALS},
        "some runs left a report of their own": any(row["report"] not in ("none", "earlier") for row in rows),
    }
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
