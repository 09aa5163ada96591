"""Does a plugin beside ours lose a claim? Fresh environments, real runs; what was judged beside what is recorded.

Every environment has one pytest and the plugins of one row. Three projects run in it: one whose audits all hold (PASS
is due), one that also has a refuted, an undecided, a swallowed and an unfinished audit (FAIL is due), and one audit
that is refuted at its first try only. Each audit writes down every assertion that it calls and what came of it; the
record must hold the same verdicts, each as often, and must name every audit. pytest's exit code must fit. A plugin that
this pytest cannot load is said to be so, and judged no further.

Target: no claim lost and none doubled, no audit unnamed, no green for anything but the first project.

    python -m tests.benchmarks.plugins --pytest 8.0.* --pytest 9.* [--python PYTHON ...] [--only ROW ...] --json PATH

`--python` is an interpreter that has the package's dependencies, by default this one. Needs a package registry.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import ROOT
from tests.benchmarks.table import arguments, conclude

VERSIONS: Final = ("8.0.*", "9.*")
COLUMNS: Final = ("python", "pytest", "plugins", "holds", "mixed", "retried", "wrong")


@dataclass(frozen=True, slots=True)
class Row:
    """Plugins and how they are used.

    Attributes:
        requirements: what is installed beside pytest.
        options: of the command line.
        mark: what every test is marked with, where a plugin acts on marks.
        extra: further tests of the mixed project.
        tries: how often a test that fails is run, and every test by several workers.
        workers: how often each test is run.
        shards: options of further runs whose records are merged with the first.
    """

    requirements: tuple[str, ...]
    options: tuple[str, ...] = ()
    mark: str = ""
    extra: str = ""
    tries: int = 1
    workers: int = 1
    shards: tuple[tuple[str, ...], ...] = ()


XDIST = "pytest-xdist"
SUBTESTS = """
def test_in_subtests(subtests):
    for name, scores in (("hidden", HIDDEN), ("leaking", LEAKING), ("again", HIDDEN)):
        with subtests.test(msg=name):
            judged(*scores)
"""
SLOW = """
@pytest.mark.timeout(1, method="signal")
def test_takes_too_long():
    import time
    time.sleep(30)
    judged(*HIDDEN)
"""
ROWS: Final = {
    "none": Row(()),
    "xdist load": Row((XDIST,), ("-n2",)),
    "xdist loadgroup": Row((XDIST,), ("-n2", "--dist=loadgroup"), mark="xdist_group('gpu')"),
    "xdist each": Row((XDIST,), ("--dist=each", "--tx=2*popen"), workers=2),
    "rerunfailures": Row(("pytest-rerunfailures",), ("--reruns=1",), tries=2),
    "rerunfailures, xdist": Row(("pytest-rerunfailures", XDIST), ("--reruns=1", "-n2"), tries=2),
    "retry": Row(("pytest-retry",), ("--retries=1",), tries=2),
    "flaky": Row(("flaky",), ("--force-flaky", "--max-runs=2", "--no-flaky-report"), tries=2),
    "randomly": Row(("pytest-randomly",), ("-p", "no:cacheprovider")),
    "timeout": Row(("pytest-timeout",), ("--timeout=600",), extra=SLOW),
    "forked": Row(("pytest-forked",), ("--forked",)),
    "subtests": Row(("pytest-subtests",), extra=SUBTESTS),
    "subtests, xdist": Row(("pytest-subtests", XDIST), ("-n2",), extra=SUBTESTS),
    "split": Row(("pytest-split",), ("--splits=2", "--group=1"), shards=(("--splits=2", "--group=2"),)),
    "all at once": Row(
        ("pytest-randomly", "pytest-timeout", "pytest-rerunfailures", "pytest-subtests", XDIST),
        ("-n2", "--reruns=1", "--timeout=600"),
        extra=SUBTESTS,
        tries=2,
    ),
}

HOLDS = """
import os
import unittest

import numpy as np
import pytest
from pytest_diffprivacy import PrivacyViolation, assert_mia_tpr_below

{mark}

def drawn(shift, count=400):
    draws = np.random.default_rng(7)
    return draws.normal(shift, 1.0, count), draws.normal(0.0, 1.0, count)

HIDDEN, LEAKING, FEW = drawn(0.0), drawn(3.0), drawn(0.0, 5)

def judged(members, nonmembers):
    node, verdict = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0], "ERROR"
    try:
        result = assert_mia_tpr_below(members, nonmembers, max_fpr=0.05, limit=0.2)
        verdict = "PASS"
    except Exception as error:
        verdict = {{"PrivacyViolation": "FAIL", "Inconclusive": "INCONCLUSIVE"}}.get(type(error).__name__, repr(error))
        raise
    finally:
        with open("judged.txt", "a") as log:
            log.write(f"{{verdict}} {{node}}\\n")

@pytest.mark.parametrize("number", range(4))
def test_holds(number):
    judged(*HIDDEN)

def test_two_claims():
    judged(*HIDDEN)
    judged(*HIDDEN)

class TestAsUnittest(unittest.TestCase):
    def test_holds(self):
        judged(*HIDDEN)

def test_of_no_audit():
    assert 1 + 1 == 2
"""
MIXED = """
def test_leaks():
    judged(*LEAKING)

def test_undecided():
    judged(*FEW)

@pytest.mark.xfail
def test_expects_its_violation():
    judged(*LEAKING)

def test_swallows_its_violation():
    try:
        judged(*LEAKING)
    except PrivacyViolation:
        pass

def test_ends_before_it_judges():
    return
    judged(*HIDDEN)

@pytest.mark.skip
def test_is_skipped():
    judged(*HIDDEN)
"""
RETRIED = """
TRIES = []

def test_at_its_second_try():
    TRIES.append(1)
    judged(*(LEAKING if len(TRIES) == 1 else HIDDEN))
"""
AUDITS: Final = {
    "holds": {"test_holds[0]", "test_holds[1]", "test_holds[2]", "test_holds[3]", "test_two_claims"}
    | {"TestAsUnittest::test_holds"},
    "mixed": {"test_leaks", "test_undecided", "test_expects_its_violation", "test_swallows_its_violation"}
    | {"test_ends_before_it_judges", "test_is_skipped"},
    "retried": {"test_at_its_second_try"},
}


@dataclass
class Found:
    """What the runs of one project left, and what is wrong with it."""

    verdict: str = ""
    exit_codes: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        """Write down what does not hold."""
        if not holds:
            self.wrong.append(what)


def environment(folder: Path, base: Path, pytest: str, row: Row, wheel: Path) -> Path | str:
    """A new environment with the dependencies of `base`, one pytest and the plugins; its Python, or why none."""
    _output([base, "-m", "venv", "--without-pip", folder])
    python = folder / "bin" / "python"
    (site,) = (folder / "lib").glob("python3.*/site-packages")
    for place in json.loads(_output([base, "-c", DEPENDENCIES])):
        (site / Path(place).name).symlink_to(place)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-warn-script-location"]
    done = _run([*pip, f"pytest=={pytest}", *row.requirements])
    if done.returncode:
        return f"cannot be installed together: {done.stderr.strip().splitlines()[-1]}"
    _output([*pip, "--no-deps", wheel])
    usual = _run([python, "-m", "pytest", "--version", *row.options], folder)
    if usual.returncode:
        return f"cannot be loaded: {usual.stderr.strip().splitlines()[-1]}"
    (folder / "test_plain.py").write_text("def test_plain(): assert True\n")
    alone = _run([python, "-m", "pytest", "-p", "no:diffprivacy", *row.options, folder / "test_plain.py"], folder)
    return python if alone.returncode in (0, 5) else "fails a plain test by itself, without this package"


DEPENDENCIES: Final = """
import importlib.metadata as m, json
found = set()
for dist in m.distributions():
    name = dist.metadata["Name"].lower()
    if name.startswith("pytest") or name in ("pluggy", "iniconfig", "execnet", "pip", "flaky"):
        continue
    if any(entry.group == "pytest11" for entry in dist.entry_points):
        continue
    tops = {file.parts[0] for file in dist.files or () if file.parts[0] not in ("..", "__pycache__")}
    found |= {str(dist.locate_file(top)) for top in tops if not top.endswith(".pth")}
print(json.dumps(sorted(found)))
"""


def run_project(kind: str, row: Row, python: Path, folder: Path) -> Found:
    """Run one project in one environment and hold what is recorded against what was judged."""
    found, parts = Found(), {"holds": "", "mixed": MIXED + row.extra, "retried": RETRIED}
    folder.mkdir()
    mark = f"pytestmark = pytest.mark.{row.mark}" if row.mark else ""
    (folder / "test_audits.py").write_text(HOLDS.format(mark=mark) + parts[kind])
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number, options in enumerate((row.options, *row.shards)):
        command = [python, "-m", "pytest", "-q", *options, f"--diffprivacy-report=audit{number}.json"]
        done = _run(command, folder)
        found.exit_codes.append(done.returncode)
        (folder / f"said{number}.txt").write_text(done.stdout + done.stderr)
    record = folder / "audit0.json"
    if row.shards:
        records = [f"audit{number}.json" for number in range(1 + len(row.shards))]
        command = [python, "-m", "pytest_diffprivacy", "merge", *records, "--report", "audit.json"]
        done = _run(command, folder)
        record = folder / "audit.json"
        (folder / "merged.txt").write_text(done.stdout + done.stderr)
        found.exit_codes = [done.returncode]
    if not record.exists():
        found.wrong.append(f"no record: {(folder / 'said0.txt').read_text().strip().splitlines()[-1:]}")
        return found
    _compare(found, kind, row, json.loads(record.read_text()), (folder / "judged.txt").read_text())
    return found


def _compare(found: Found, kind: str, row: Row, run: dict[str, Any], log: str) -> None:
    found.verdict = run["verdict"]
    judged = Counter(tuple(line.split(" ", 1)) for line in log.splitlines())
    recorded = Counter(_recorded(run))
    for (verdict, node), times in sorted((judged - recorded).items()):
        found.wrong.append(f"lost: {node} {verdict} {times} times")
    for (verdict, node), times in sorted((recorded - judged).items()):
        found.wrong.append(f"doubled: {node} {verdict} {times} times")
    named = {test["node_id"].partition("::")[2].partition("@")[0] for test in run["tests"]}
    for audit in sorted((AUDITS["holds"] | AUDITS[kind]) - named):
        found.wrong.append(f"not named: {audit}")
    found.check("test_of_no_audit" not in named, "named although it judges nothing: test_of_no_audit")
    due = "PASS" if kind == "holds" else "FAIL"
    found.check(run["verdict"] == due, f"the run is {run['verdict']}: {run['verdict_reason']}")
    green = all(code == 0 for code in found.exit_codes)
    found.check(green == (kind == "holds"), f"exit code {found.exit_codes}")
    if kind == "mixed":
        lacking = {text.partition("::")[2].partition(":")[0].partition("@")[0] for text in run["missing"]}
        due_missing = {"test_ends_before_it_judges", "test_is_skipped"}
        due_missing |= {"test_takes_too_long"} if row.extra == SLOW else set()
        found.check(lacking == due_missing, f"missed are {sorted(lacking)}")
    if kind == "retried":
        tries = [times for (_, node), times in judged.items() if node.endswith("test_at_its_second_try")]
        found.check(sum(tries) == row.tries * row.workers, f"run {sum(tries)} times: the plugin did nothing")


def _recorded(run: dict[str, Any]) -> Iterator[tuple[str, str]]:
    again = {attempts["claim"]: attempts["verdicts"] for attempts in run["attempts"]}
    for claim in run["claims"]:
        for verdict in again.get(claim["id"], [claim["verdict"]]):
            yield verdict, claim["node_id"]


def _run(command: Sequence[str | Path], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run with this process's variables, less what speaks to pytest or to Python."""
    foreign = ("PYTEST", "PYTHON", "CI", "GITHUB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=kept | {"OMP_NUM_THREADS": "1"}
    )


def _output(command: Sequence[str | Path]) -> str:
    done = _run(command)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    return done.stdout


def measured(base: Path, pytest: str, name: str, wheel: Path, work: Path) -> dict[str, Any]:
    """One row of the table."""
    row, folder = ROWS[name], work / f"{base.parents[1].name} {pytest} {name}".replace("/", "-").replace("*", "x")
    shown: dict[str, Any] = {
        "python": _output([base, "-c", "import platform; print(platform.python_version())"]).strip()
    }
    shown |= {"pytest": pytest, "plugins": name}
    folder.mkdir()
    python = environment(folder / "environment", base, pytest, row, wheel)
    if isinstance(python, str):
        return shown | {"wrong": python, "judged": False}
    wrong: list[str] = []
    for kind in ("holds", "mixed", *(["retried"] if row.tries > 1 else [])):
        found = run_project(kind, row, python, folder / kind)
        shown[kind] = found.verdict
        wrong += [f"{kind}: {text}" for text in found.wrong]
    shown["pytest"] = _output([python, "-c", "import pytest; print(pytest.__version__)"]).strip()
    return shown | {"wrong": "; ".join(wrong), "judged": True}


def main() -> int:
    """Build, run, print and judge."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--pytest", action="append", help=f"version to install; by default {' and '.join(VERSIONS)}")
    parser.add_argument("--python", action="append", type=Path, help="interpreter with the package's dependencies")
    parser.add_argument("--only", action="append", choices=ROWS, help="plugins to run with; by default each of them")
    parser.add_argument("--keep", type=Path, help="a new folder that keeps the environments and projects")
    given = parser.parse_args()
    work = given.keep or Path(tempfile.mkdtemp())
    work.mkdir(exist_ok=True)
    _output([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", work, ROOT])
    (wheel,) = work.glob("*.whl")
    jobs = [
        (python, pytest, name)
        for python in given.python or [Path(sys.executable)]
        for pytest in given.pytest or VERSIONS
        for name in given.only or ROWS
    ]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda job: measured(*job, wheel, work), jobs))
    if given.keep is None:
        shutil.rmtree(work)
    judged = [row for row in rows if row.pop("judged")]
    targets = {f"{row['python']}, pytest {row['pytest']}, {row['plugins']}": not row["wrong"] for row in judged}
    targets["some environment could be made"] = bool(judged)
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    sys.exit(main())
