"""Which benchmarks are about cost, and what did one of them say, here and at the last committed run?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.benchmarks import ROOT
from tests.benchmarks.table import Figure

RESULTS: Final = Path(__file__).with_name("results")
COSTS: Final = (
    "attack_overhead",
    "detector_overhead",
    "jvp_cost",
    "generation_overhead",
    "probe_scaling",
    "neighbours",
    "real_size",
    "report_speed",
    "import_time",
    "ray_efficiency",
    "full_size_memory",
    "full_size",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a benchmark said.

    Attributes:
        name: the script.
        problem: why it has no figures; "" where it has.
        content: its JSON.
        seconds: how long its process ran.
    """

    name: str
    problem: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def figures(self) -> list[Figure]:
        """Figures with their targets."""
        return [Figure(**figure) for figure in self.content.get("figures", ())]

    @property
    def other_targets(self) -> dict[str, bool]:
        """Targets that are not one figure against one number."""
        figures = {f"{figure.what}: {figure.target}" for figure in self.figures}
        return {what: met for what, met in self.content.get("targets", {}).items() if what not in figures}

    @property
    def met(self) -> bool:
        """Whether it ran and met every target."""
        return not self.problem and all(self.content["targets"].values())


def run(name: str, command: Sequence[str] | None = None) -> Outcome:
    """Run one benchmark in a process of its own.

    Args:
        name: the script.
        command: what runs it, up to `--json`; None: the script of that name.

    Returns:
        Its figures; or, of a script that ends without any, the last line that it said about that.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        chosen = command or [sys.executable, "-m", f"tests.benchmarks.{name}"]
        started = time.perf_counter()
        result = subprocess.run([*chosen, "--json", str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - started
        if path.exists():
            return Outcome(name, content=json.loads(path.read_text(encoding="utf-8")), seconds=taken)
        said = result.stderr.strip().splitlines() or [f"ended with exit code {result.returncode} and no figures"]
        return Outcome(name, problem=said[-1], seconds=taken)


def committed(name: str, results: Path = RESULTS) -> Outcome:
    """The last committed result of a benchmark."""
    path = results / f"{name}.json"
    if not path.exists():
        return Outcome(name, problem="no result is committed")
    return Outcome(name, content=json.loads(path.read_text(encoding="utf-8")))


def keep(outcome: Outcome, results: Path = RESULTS) -> None:
    """Make a result the committed one; one that has no figures replaces none."""
    if not outcome.problem:
        text = json.dumps(outcome.content, indent=1) + "\n"
        (results / f"{outcome.name}.json").write_text(text, encoding="utf-8")


def lines(outcome: Outcome, last: Outcome) -> list[dict[str, Any]]:
    """A table's lines: every figure with its target, beside the last committed one."""
    if outcome.problem:
        return [{"benchmark": outcome.name, "figure": f"could not run: {outcome.problem}", "state": "not met"}]
    before = {figure.what: figure for figure in last.figures}
    rows: list[dict[str, Any]] = [
        {
            "benchmark": outcome.name,
            "figure": figure.what,
            "measured": figure.value,
            "target": figure.target,
            "state": state(figure.met),
            "last": before[figure.what].value if figure.what in before else "",
            "change": change(figure, before.get(figure.what)),
        }
        for figure in outcome.figures
    ]
    others = last.other_targets
    rows += [
        {
            "benchmark": outcome.name,
            "figure": what,
            "state": state(met),
            "last": state(others[what]) if what in others else "",
            "change": flipped(met, others.get(what)),
        }
        for what, met in outcome.other_targets.items()
    ]
    return rows


def change(figure: Figure, last: Figure | None) -> str:
    """What became of a figure since the last committed run."""
    if last is None:
        return "new"
    # The last figure is judged by today's target, which may have moved.
    was = Figure(last.what, last.value, figure.limit, figure.bound)
    if was.met != figure.met or last.value == 0.0:
        return flipped(figure.met, was.met)
    return f"{100.0 * (figure.value / last.value - 1.0):+.1f} %"


def flipped(met: bool, before: bool | None) -> str:
    """What became of a target since the last committed run."""
    if before is None:
        return "new"
    return "same" if met == before else f"now {state(met)}"


def state(met: bool) -> str:
    """A target's state in words."""
    return "met" if met else "MISSED"


def as_json(outcomes: Sequence[Outcome], lasts: Sequence[Outcome], machine: str) -> dict[str, Any]:
    """What a run of benchmarks writes."""
    return {
        "machine": machine,
        "met": all(outcome.met for outcome in outcomes),
        "table": [row for outcome, last in zip(outcomes, lasts, strict=True) for row in lines(outcome, last)],
        "benchmarks": [asdict(outcome) for outcome in outcomes],
    }
