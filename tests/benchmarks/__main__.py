"""Does an audit cost what its network evaluations cost? Runs the benchmarks about cost, one process after the other.

    python -m tests.benchmarks --json costs.json
    python -m tests.benchmarks --only import_time report_speed --keep
    python -m tests.benchmarks --readme

Prints every figure with its target beside the last committed result, and exits 1 when one is missed or a script could
not run. `--keep` makes the results the committed ones; `--readme` runs nothing and writes README.md from those.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.readme import README, readme_text
from tests.benchmarks.suite import COSTS, as_json, committed, keep, run
from tests.benchmarks.table import aligned, machine

COLUMNS = ("benchmark", "figure", "measured", "target", "state", "last", "change")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, help="write every figure here, with the last committed one")
    parser.add_argument("--only", nargs="+", choices=COSTS, metavar="NAME", help=f"of {', '.join(COSTS)}")
    parser.add_argument("--keep", action="store_true", help="commit to these results: results/*.json and README.md")
    parser.add_argument("--readme", action="store_true", help="write README.md from results/*.json and run nothing")
    chosen = parser.parse_args(arguments)
    if chosen.readme:
        README.write_text(readme_text(), encoding="utf-8")
        return 0
    if chosen.json is not None and not chosen.json.resolve().parent.is_dir():  # said before hours of measuring
        parser.error(f"--json must be a file in a folder that exists, got {str(chosen.json)!r}. Make the folder first.")
    names = chosen.only or COSTS
    lasts, outcomes = [committed(name) for name in names], []
    for name in names:
        print(f"running {name} ...", file=sys.stderr, flush=True)
        outcomes.append(run(name))
    report = as_json(outcomes, lasts, machine())
    print("\n".join(aligned(COLUMNS, report["table"])))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if chosen.keep:
        for outcome in outcomes:
            keep(outcome)
        README.write_text(readme_text(), encoding="utf-8")
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
