"""Commands for a finished audit, without its model: `python -m pytest_diffprivacy COMMAND`; loads no torch.

A command is one function: its name is what is typed, its docstring the help, and it returns the exit code.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from pytest_diffprivacy.errors import DiffPrivacyError, UsageError
from pytest_diffprivacy.visible import visible

HELD, DIFFERS, ERROR = 0, 1, 4
DAY = 24 * 60 * 60
ROLES: Final = frozenset({"member", "non-member", "image"})
EXIT_CODES: Final = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 4, "INCOMPLETE": 4}
"""2 is left to argparse, for a command line that it does not understand."""

Run = Callable[[argparse.Namespace], int]


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    Attributes:
        summary: one line for the list of commands.
        arguments: names and keywords of each, as argparse takes them.
        run: does it and returns the exit code; gives name and details.
    """

    summary: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...]
    run: Run

    @property
    def name(self) -> str:
        """What is typed."""
        return self.run.__name__

    @property
    def details(self) -> str:
        """What it does and which exit codes it has; `{formats}` are the report formats that there are."""
        from pytest_diffprivacy.report.formats import formats

        listed = "\n".join(f"  {extension:<13} {found.HELP}" for extension, found in formats().items())
        return inspect.cleandoc(self.run.__doc__ or "").format(formats=listed)


COMMANDS: Final[list[Command]] = []


def _command(summary: str, *arguments: tuple[tuple[str, ...], dict[str, Any]]) -> Callable[[Run], Run]:
    """Make a function a command."""

    def register(run: Run) -> Run:
        COMMANDS.append(Command(summary, arguments, run))
        return run

    return register


def _argument(*names: str, **keywords: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, keywords


def _given(text: str) -> str:
    """What is expected of a record: a variable that is not set expects nothing, and pins nothing.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("must be what is expected, got nothing. Is a variable not set?")
    return text.strip()


def _say(text: str, file: TextIO | None = None) -> None:
    """Print text with nothing in it that a terminal acts on, wherever it came from."""
    print(visible(text), file=file)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors, which repeat what was typed, hold nothing that a terminal acts on either."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


RECORD: Final = _argument("record", type=Path, help="a JSON report, or a run's folder (.diffprivacy/runs/...)")
EVIDENCE: Final = _argument(
    "--evidence", type=Path, help="the evidence folder; default: .diffprivacy, or the run's own"
)
UNVERIFIED: Final = _argument(
    "--unverified", action="store_true", help="go on with a record that is not what was sealed, as UNVERIFIED"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what was typed behind the program's name; the process's own by default.

    Returns:
        The exit code: the command's own, or 4 where it could not do its work.
    """
    parser = _Parser(
        prog="python -m pytest_diffprivacy", description="Work with the record of a finished audit. Loads no model."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        own = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.details,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for names, keywords in command.arguments:
            own.add_argument(*names, **keywords)
        own.set_defaults(run=command.run)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except DiffPrivacyError as error:
        _say(f"{type(error).__name__}: {error}", file=sys.stderr)
        return ERROR


@_command(
    "say what audits will cost and what they can show",
    _argument("arguments", nargs=argparse.REMAINDER, help="what pytest is given: files, -k, --diffprivacy-..."),
)
def plan(chosen: argparse.Namespace) -> int:
    """Collect audits with pytest and judge none.

    For every claim it prints the probes that a decision needs, the smallest leak that these probes show, network
    evaluations and time. Loads no model.
    Exit code: pytest's own.
    """
    import subprocess

    return subprocess.call([sys.executable, "-m", "pytest", "--diffprivacy-plan", *chosen.arguments])


@_command(
    "write reports again from a record",
    RECORD,
    EVIDENCE,
    UNVERIFIED,
    _argument("reports", type=Path, nargs="+", metavar="report", help="where to; the extension is the format"),
)
def render(chosen: argparse.Namespace) -> int:
    """Write reports again from a JSON report or a run's folder; the same record gives the same bytes.

    A record that is not what was sealed is refused.

    Formats by extension:
    {formats}
    """
    from pytest_diffprivacy.evidence.verify import sealed_run
    from pytest_diffprivacy.report import write_report

    run = sealed_run(chosen.record, root=chosen.evidence, unverified=chosen.unverified)
    for path in chosen.reports:
        write_report(run, path)
        _say(f"report        {path}")
    return HELD


@_command(
    "print the verdicts; the exit code is the run's verdict",
    RECORD,
    EVIDENCE,
    UNVERIFIED,
    _argument("--run-id", type=_given, help="expect this run"),
    _argument(
        "--model-digest", action="append", default=[], type=_given, help="expect this model and no other; repeatable"
    ),
    _argument(
        "--probes-digest", action="append", default=[], type=_given, help="expect these members, ...; repeatable"
    ),
    _argument("--newer-than", type=_given, help="expect a run that began after this time, e.g. 2025-03-14T09:26:53Z"),
    _argument("--policy-sha256", type=_given, help="expect a run that this policy bound"),
)
def verdict(chosen: argparse.Namespace) -> int:
    """Print a line a claim and the run's verdict.

    A record that is not what was sealed is refused, and so is one that is not as the options expect it.
    Exit code: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 ERROR or INCOMPLETE (or no record that can be read, is what was
    sealed and is as expected).
    """
    from pytest_diffprivacy.evidence.pins import Pins, moment
    from pytest_diffprivacy.evidence.verify import sealed_run
    from pytest_diffprivacy.report import run_lines

    newer_than = moment(chosen.newer_than) if chosen.newer_than else None
    pins = Pins(chosen.run_id or "", chosen.model_digest, chosen.probes_digest, newer_than, chosen.policy_sha256 or "")
    run = sealed_run(chosen.record, root=chosen.evidence, unverified=chosen.unverified)
    unexpected = list(pins.differences(run))
    _say("\n".join([*run_lines(run), *(f"UNEXPECTED    {text}" for text in unexpected)]))
    return ERROR if unexpected else EXIT_CODES.get(run.verdict, ERROR)


@_command(
    "join the records of a run that was split over machines",
    _argument("records", type=Path, nargs="+", metavar="record", help="the JSON report or run's folder of each part"),
    _argument("--report", type=Path, action="append", default=[], help="where to write the whole; repeatable"),
    EVIDENCE,
    UNVERIFIED,
)
def merge(chosen: argparse.Namespace) -> int:
    """Join the parts of one run (pytest-split, a CI matrix, -k) and judge them as a whole.

    It is PASS if together they hold every audit and each claim held; what one part left out counts as judged where
    another judged it, and a claim that several judged counts by its worst verdict. Parts with another policy, or with
    two models of one name, are refused.
    Exit code: that of `verdict`.
    """
    from pytest_diffprivacy.evidence.merge import merge_runs
    from pytest_diffprivacy.evidence.verify import sealed_run
    from pytest_diffprivacy.report import run_lines, write_report

    parts = [sealed_run(path, root=chosen.evidence, unverified=chosen.unverified) for path in chosen.records]
    run = merge_runs(parts)
    _say("\n".join(run_lines(run)))
    for path in chosen.report:
        write_report(run, path)
        _say(f"report        {path}")
    return EXIT_CODES.get(run.verdict, ERROR)


@_command(
    "check every digest and compute every verdict again",
    RECORD,
    EVIDENCE,
    _argument("--digest", type=_given, help="sha256 of the record as the run printed it, kept apart from the evidence"),
    _argument(
        "--quiet", action="store_true", help="print only what differs, what could not be compared, and the last line"
    ),
)
def verify(chosen: argparse.Namespace) -> int:
    """Check every sha256 of a record and its evidence, and compute every verdict again from the stored scores.

    A record that was changed together with all its digests is found only with --digest: keep the sha256 that
    the run printed, or sign the in-toto statement. Nothing outside the run's folder is read.
    DIFFERS: it is not what the record says. ABSENT: it was not handed over. NOT COMPARED: there is nothing to compare.
    Exit code: 0 everything agrees, 1 something differs or is absent (the first is named), 4 the record cannot be read.
    """
    from pytest_diffprivacy.evidence.verify import verify_run
    from pytest_diffprivacy.report.text import plural

    checks, different = 0, []
    for check in verify_run(chosen.record, root=chosen.evidence, digest=chosen.digest):
        checks += 1
        if check.problem:
            different.append(check)
            _say(f"{check.label:<13} {check.subject}: {check.problem}")
        elif check.absent or not chosen.quiet:
            _say(f"{check.label:<13} {check.subject}" + (f" ({check.note})" if check.note else ""))
    if different:
        _say(f"NOT VERIFIED  {len(different)} of {plural(checks, 'check')}; first: {different[0].subject}")
        return DIFFERS
    _say(f"VERIFIED      {plural(checks, 'check')}")
    return HELD


@_command(
    "compare two records claim by claim",
    _argument("before", type=Path, help="the earlier record: a JSON report or a run's folder"),
    _argument("after", type=Path, help="the later record"),
    EVIDENCE,
    UNVERIFIED,
)
def compare(chosen: argparse.Namespace) -> int:
    """Compare two records claim by claim: verdicts, estimates, limits, and what else was not the same.

    Exit code: 0 no claim is worse than before, 1 one is worse or missing, 4 a record cannot be read or is not what
    was sealed.
    """
    from pytest_diffprivacy.evidence.verify import sealed_run
    from pytest_diffprivacy.report import compare_runs

    before, after = (
        sealed_run(record, root=chosen.evidence, unverified=chosen.unverified)
        for record in (chosen.before, chosen.after)
    )
    changes = compare_runs(before, after)
    _say("\n".join(changes.lines))
    return DIFFERS if changes.worse else HELD


@_command(
    "list, size, prune or verify stored results",
    _argument("action", choices=("list", "size", "prune", "verify"), help="what to do with the cache"),
    _argument("--cache-dir", type=Path, default=Path(".diffprivacy"), help="the evidence folder"),
    _argument("--limit", help="prune: what may remain, e.g. 20GB"),
)
def cache(chosen: argparse.Namespace) -> int:
    """Manage the stored results; records and evidence of runs are no part of the cache.

    list: every stored result with its last use, size, model and unit, the least recently used first.
    size: how many there are and how large. prune: remove the least recently used ones until --limit is kept.
    verify: check every result against its own digest.
    Exit code: 0 done, 1 a result is damaged, 4 the folder cannot be used.
    """
    from pytest_diffprivacy.evidence.cache import damaged, entries, leftovers, prune
    from pytest_diffprivacy.report.text import plural

    found = entries(chosen.cache_dir)
    if chosen.action == "list":
        for entry in found:
            used = datetime.fromtimestamp(entry.used, UTC)
            _say(f"{used:%Y-%m-%d %H:%M}  {_readable(entry.size):>12}  {entry.key[:12]}  {entry.title}")
    if chosen.action == "prune":
        limit = _limit(chosen.limit)
        for path in leftovers(chosen.cache_dir, before=time.time() - DAY):
            with suppress(OSError):  # a folder that cannot be written is named where a result is to go
                path.unlink(missing_ok=True)
        done = prune(found, limit)
        _say(f"removed       {plural(done.removed, 'result')}, {_readable(done.freed)}; {_readable(done.left)} left")
        return HELD
    problems = [problem for _, problem in damaged(found) if problem] if chosen.action == "verify" else []
    for problem in problems:
        _say(f"DAMAGED       {problem}")
    total = f"{plural(len(found), 'result')}, {_readable(sum(entry.size for entry in found))}"
    _say(f"cache         {total}" + (f", {len(problems)} damaged" if chosen.action == "verify" else ""))
    return DIFFERS if problems else HELD


@_command(
    "lead a member's id back to its file",
    _argument("id", nargs="+", help="as a report names it: 10 hexadecimal digits, perhaps with the role before"),
    _argument("--members", required=True, help="the images of the run: folder, .npz, .safetensors, table"),
    _argument("--resize", help="as the run had it, e.g. 512 or 512:bicubic"),
    _argument("--crop", help="as the run had it"),
    _argument("--cache-dir", type=Path, default=Path(".diffprivacy"), help="the evidence folder of the run"),
)
def member(chosen: argparse.Namespace) -> int:
    """Print every file that an id of a report names, repetitions included.

    Ids are made with a secret in the evidence folder: without it nobody can do this, with it and the images anybody.
    Works for any side of a probe set. Reads every image once, and takes a few seconds to load.
    Exit code: 0 every id was found, 1 one was not, 4 the folder or the images cannot be read.
    """
    from pytest_diffprivacy.evidence.private_ids import ids_of
    from pytest_diffprivacy.probes import ImageSet
    from pytest_diffprivacy.probes.sizing import Sizing

    named = ids_of(chosen.cache_dir)
    images = ImageSet.of(chosen.members, "member", sizing=Sizing.of(chosen.resize, chosen.crop))
    files: dict[str, list[str]] = {}
    for name, digest in images.sources():
        files.setdefault(named(digest), []).append(name)
    wanted = [word.lower() for text in chosen.id for word in text.split() if word.lower() not in ROLES]
    for one in wanted:
        for name in files.get(one, []):
            _say(f"{one}    {name}")
        if one not in files:
            _say(f"{one}    no image of {chosen.members}: another run's folder, other images, or another size?")
    return HELD if all(one in files for one in wanted) else DIFFERS


@_command("print the JSON Schema of the record")
def schema(chosen: argparse.Namespace) -> int:
    """Print the JSON Schema (2020-12) that every JSON report of this version fits."""
    import json

    from pytest_diffprivacy.evidence.records import Run

    _say(json.dumps(Run.model_json_schema(mode="serialization"), indent=1))
    return HELD


def _limit(given: str | None) -> int:
    """Bytes that may remain.

    Raises:
        UsageError: no size was given, or none that can be read.
    """
    from pytest_diffprivacy.options.values import size

    if given is None:
        raise UsageError("`--limit` must be given: a size such as 20GB. 0MB removes every stored result.")
    try:
        return size(given)
    except ValueError:
        raise UsageError(f"`--limit` must be a size such as 500MB or 20GB, got {given!r}.") from None


def _readable(size: int) -> str:
    """A size as a person reads it."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} KB"
