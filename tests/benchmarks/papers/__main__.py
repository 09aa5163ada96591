"""Do the source papers' figures come out on the example models? Runs what they are made of and writes docs/papers.md.

    python -m tests.benchmarks.papers
    python -m tests.benchmarks.papers --only carlini_figure_5
    python -m tests.benchmarks.papers --page

All of it takes hours. Every result is kept in tests/benchmarks/results/ as soon as it is there, and the page is written
anew; what is done is noted in .diffprivacy/papers/, so that a killed run continues there. `--again` forgets that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tqdm import tqdm

from tests.benchmarks import ROOT
from tests.benchmarks.papers.figure import Step, figures
from tests.benchmarks.papers.page import write
from tests.benchmarks.suite import RESULTS

WORK: Final = ROOT / ".diffprivacy" / "papers"


def steps(names: Sequence[str]) -> list[Step]:
    """What the figures are made of, the cheapest first, each once."""
    chosen = [step for figure in figures() if figure.name in names for step in figure.steps]
    return sorted(dict.fromkeys(chosen), key=lambda step: step.minutes)


def run(step: Step, work: Path = WORK, results: Path = RESULTS) -> str:
    """Make a result that is not made yet, and keep it.

    Args:
        step: the result and its commands.
        work: where models and notes of what is done lie.
        results: where the result is kept.

    Returns:
        Why there is none; "" where there is one. A script that misses a target has a result.
    """
    models, fresh, target = work / "models", work / f"{step.result}.json", results / f"{step.result}.json"
    if fresh.exists():
        shutil.copyfile(fresh, target)
        return ""
    models.mkdir(parents=True, exist_ok=True)
    for command in step.before:
        told = [part.format(models=models) for part in command]
        done = work / f"{hashlib.sha256(json.dumps(command).encode()).hexdigest()[:16]}.done"
        if not done.exists():
            ended = subprocess.run([sys.executable, *told], cwd=ROOT, check=False).returncode
            if ended:
                return f"`python {' '.join(told)}` ended with exit code {ended}"
            done.touch()
    told = [part.format(models=models) for part in step.arguments]
    written = work / f"{step.result}.part"
    written.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"tests.benchmarks.{step.script}", *told, "--json", str(written)]
    ended = subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr).returncode
    if not written.exists():
        return f"`python {' '.join(command[1:])}` ended with exit code {ended} and no figures"
    written.replace(fresh)
    shutil.copyfile(fresh, target)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what was asked for; return 1 where a result could not be made."""
    known = [figure.name for figure in figures()]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.papers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=known, metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--page", action="store_true", help="run nothing: the page from the committed results")
    parser.add_argument("--again", action="store_true", help="measure anew what an earlier run has measured")
    given = parser.parse_args(arguments)
    if given.page:
        write()
        return 0
    asked = steps(given.only or known)
    problems = []
    with tqdm(total=sum(step.minutes for step in asked), unit="min", file=sys.stderr) as bar:
        for step in asked:
            bar.set_description(step.result)
            if given.again:
                (WORK / f"{step.result}.json").unlink(missing_ok=True)
            problem = run(step)
            if problem:
                problems.append(f"{step.result}: {problem}")
            else:
                write()
            bar.update(step.minutes)
    print("\n".join(problems), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
