"""pytest's hooks, and nothing else. Importing this file loads the standard library and pytest only."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import pytest
from _pytest.config import get_config
from _pytest.junitxml import xml_key

from pytest_diffprivacy import options
from pytest_diffprivacy.collection import MARKER_HELP, Audits
from pytest_diffprivacy.declaration import find_declaration
from pytest_diffprivacy.errors import DiffPrivacyError, EvidenceError, UsageError
from pytest_diffprivacy.fixtures import diffprivacy, diffusion_model, probe_set
from pytest_diffprivacy.inventory import places
from pytest_diffprivacy.options.outputs import take_away, take_away_outputs, typed_reports, withdraw_card
from pytest_diffprivacy.options.redo import Redo, called, option_words
from pytest_diffprivacy.policy import find_policy
from pytest_diffprivacy.progress import Uncaptured
from pytest_diffprivacy.reporting import Reports
from pytest_diffprivacy.visible import visible

__all__ = ["diffprivacy", "diffusion_model", "probe_set"]

RUN_KEY, REDO_KEY, EXCUSED_KEY = "diffprivacy_run", "diffprivacy_redo", "diffprivacy_excused"
PART = "diffprivacy"
WORST_FIRST = "failed", "xfailed", "rerun", "skipped", "xpassed", "passed"
OUTER_SESSION = pytest.StashKey[options.Session | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register every option as flag and ini key."""
    take_away(typed_reports(), Path.cwd())
    group = parser.getgroup("diffprivacy", "audits of diffusion models")
    for option in options.OPTIONS:
        action: dict[str, Any] = {"action": "append"} if option.repeatable else {}
        action = {"action": "store_true"} if option.switch else action
        group.addoption(option.flag, dest=option.ini, default=None, help=option.help, **action)
        parser.addini(option.ini, help=option.help, default="")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before anything of the project is loaded: no report of an earlier run may stand for this one."""
    try:
        take_away_outputs(early_config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the options and name the run; refuse bad values before anything is collected."""
    config.addinivalue_line("markers", MARKER_HELP)
    flags = {option.name: config.getoption(option.ini, None) for option in options.OPTIONS}
    ini = {option.name: str(config.getini(option.ini) or "") for option in options.OPTIONS}
    ini_dir = config.inipath.parent if config.inipath else config.rootpath
    worker = getattr(config, "workerinput", None)
    several = config.getoption("dist", "no") != "no" and config.getoption("tx", None)  # xdist turns -n into these
    try:
        folders = ini_dir, config.rootpath, *places(config)
        policy, declared = find_policy(*folders), find_declaration(*folders)
        settings = options.resolve(flags, ini, invocation_dir=Path(config.invocation_params.dir), ini_dir=ini_dir)
        settings.check(several_processes=bool(worker or several))
    except UsageError as error:
        raise pytest.UsageError(visible(str(error))) from None
    started = datetime.now(UTC)
    run_id = worker[RUN_KEY] if worker else f"{started:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
    progress = None if worker else Uncaptured(config)
    folder = Path(config.invocation_params.dir)
    words = worker[REDO_KEY] if worker else [*called(config), *option_words(flags, folder)]
    redo = Redo(config.rootpath, folder, tuple(words))
    session = options.Session(settings, run_id, progress, policy, redo, declared)  # type: ignore[arg-type]  # write, flush, isatty
    config.stash[OUTER_SESSION] = options.activate(session)
    run = _AuditRun(config, session, started, worker is not None)
    for name, plugin in {"run": run, "audits": run.audits, "reports": Reports(config, settings, run.audits)}.items():
        if config.pluginmanager.register(plugin, f"{PART}-{name}") is None:
            raise pytest.UsageError(f"-p no:{PART}-{name} would leave audits unjudged. Leave it out.")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """What a run has concluded is its last word: no hook that is called later makes a red one green."""
    code = yield
    run = config.pluginmanager.get_plugin(f"{PART}-run")
    return pytest.ExitCode.TESTS_FAILED if code == pytest.ExitCode.OK and run is not None and run.red else code


def pytest_unconfigure(config: pytest.Config) -> None:
    """Forget the session; a run inside another run gives the outer one its own back."""
    if OUTER_SESSION in config.stash:
        options.activate(config.stash[OUTER_SESSION])


@final
class _AuditRun:
    """What one pytest run knows about its audits."""

    def __init__(self, config: pytest.Config, session: options.Session, started: datetime, worker: bool) -> None:
        self.config, self.started, self.worker = config, started, worker
        self.redo = session.redo.words if session.redo else ()
        self.settings, self.run_id, self.limits = session.settings, session.run_id, session.policy
        self.declared = session.declared
        self.asked = bool(self.settings["report"])
        self.planning = bool(self.settings["plan"])
        self.audits = Audits(config, worker)
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.happened: list[str] = []
        self.lost_workers = False
        self.started_tests: set[str] = set()
        self.lines: list[str] = []
        self.red = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: all workers write to one run folder."""
        node.workerinput[RUN_KEY], node.workerinput[REDO_KEY] = self.run_id, list(self.redo)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """xdist: which audits did the workers collect, and was one lost?"""
        output = getattr(node, "workeroutput", {})
        self.audits.expected.update(output.get(RUN_KEY, {}))
        self.audits.excused.update(output.get(EXCUSED_KEY, ()))
        if error:
            self.happened.append(f"Worker {node.gateway.id} was lost: {error}")
            self.lost_workers = True

    def pytest_collection_finish(self) -> None:
        """Write down which audits there are before the first of them runs: a lost worker cannot do it later."""
        if self.config.option.collectonly or self.planning:
            return
        if self.audits.expected or self.asked:
            self.audits.count()
        if not self.audits.expected:
            return
        withdraw_card(self.settings.text("card"))
        try:
            self._folder().event("collected", audits=self.audits.expected)
        except EvidenceError as error:
            if not self.worker:  # in a worker of xdist every audit fails with the same words
                raise pytest.UsageError(visible(str(error))) from None

    @pytest.hookimpl(trylast=True)  # pytest's JUnit file has taken the report
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what became of each test; kept only for audits."""
        if report.when == "setup" and report.nodeid in self.started_tests:
            self.happened.append(f"{report.nodeid} was run again.")
        if report.when == "setup":
            self.started_tests.add(report.nodeid)
        before = self.outcomes.get(report.nodeid, {})
        unjudged = [] if report.when == "setup" else before.get("unjudged", [])
        found = {**before, "unjudged": unjudged + (getattr(report, "diffprivacy_unjudged", None) or [])}
        found["demonstration"] = getattr(report, "diffprivacy_demonstration", None) or before.get("demonstration")
        outcome = _outcome(report)
        if report.when == "setup":
            found.pop("subtests", None)
        if type(report).__name__.lower() == "subtestreport":  # of pytest since 9, and of pytest-subtests
            found["subtests"] = min(outcome, before.get("subtests", "passed"), key=WORST_FIRST.index)
        elif report.when == "call" or outcome != "passed":
            found |= {
                "outcome": min(outcome, found.get("subtests", "passed"), key=WORST_FIRST.index),
                "failed_before": before.get("failed_before") or before.get("outcome") in ("failed", "rerun"),
                "detail": "crashed" if str(report.when) == "???" else getattr(report, "diffprivacy", None) or "",
            }
        self.outcomes[report.nodeid] = found

    @pytest.hookimpl(tryfirst=True)  # pytest's JUnit file is written in the same hook
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Put the run together and write the reports; workers only say what they collected."""
        if self.planning:
            return
        raised = any(found.get("unjudged") for found in self.outcomes.values())
        if raised or self._has_records():
            self.audits.count()
        if self.worker:
            output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
            output[RUN_KEY], output[EXCUSED_KEY] = self.audits.expected, sorted(self.audits.excused)
            return
        typed = self.settings.origin("report") == "command line"
        if session.config.option.collectonly or not (self.audits.expected or typed or raised or self._has_records()):
            return
        try:
            run = self._conclude(session)
        except DiffPrivacyError as error:
            self.lines.append(f"ERROR         the report was not written: {error}")
            session.exitstatus, self.red = pytest.ExitCode.INTERNAL_ERROR, True
            return
        self._add_to_junit(run)
        if bool(self.settings["update-baseline"]):
            self._update_baseline(session, run)

    def _conclude(self, session: pytest.Session) -> Any:
        """The record of the run, judged, stored and written where it was asked for."""
        from pytest_diffprivacy.audit.catalogue import known_methods
        from pytest_diffprivacy.conclusion import is_red, write_documents
        from pytest_diffprivacy.evidence.pictures import redacted_command
        from pytest_diffprivacy.evidence.runs import PytestRun, conclude_run
        from pytest_diffprivacy.report.lines import run_lines

        typed = ["pytest", *map(str, self.config.invocation_params.args)]
        expected = self.audits.uncollected | self.audits.expected
        seen = PytestRun(
            self.started, redacted_command(typed, _pytest_flags()), expected, self.outcomes, self._incidents()
        )
        run = conclude_run(
            self._folder(),
            self.settings,
            seen,
            policy=self.limits,
            catalogue=known_methods(),
            declared=self.declared,
        )
        self.red = self.lost_workers or is_red(run, self.settings)
        if session.exitstatus == pytest.ExitCode.OK and self.red:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self.lines = run_lines(run)
        self.lines += write_documents(run, self.settings)
        return run

    def _add_to_junit(self, run: Any) -> None:
        from pytest_diffprivacy.report.lines import junit_properties

        junit = self.config.stash.get(xml_key, None)
        if junit is not None:
            for name, value in junit_properties(run):
                junit.add_global_property(name, value)

    def _update_baseline(self, session: pytest.Session, run: Any) -> None:
        from pytest_diffprivacy.conclusion import new_baseline

        try:
            self.lines.append(new_baseline(run, self.settings, self._folder().folder, chosen=self._chosen()))
        except DiffPrivacyError as error:
            self.lines.append(f"ERROR         {error}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _chosen(self) -> bool:
        """Whether only a part of the tests was selected."""
        option = self.config.option
        named = any("::" in arg for arg in self.config.args) or option.keyword or option.markexpr
        return bool(named or self.config.getoption("lf", False) or "deselected" in self.audits.expected.values())

    def _has_records(self) -> bool:
        """Whether this run left records, for tests that need no audit fixture and for workers that were lost."""
        return (Path(str(self.settings["cache-dir"])) / "runs" / self.run_id).is_dir()

    def _folder(self) -> Any:
        from pytest_diffprivacy.evidence.run_folder import RunFolder

        return RunFolder(Path(str(self.settings["cache-dir"])), self.run_id)

    def _incidents(self) -> list[str]:
        """What happened besides the audits themselves."""
        mine = {
            text for text in self.happened if text.startswith("Worker ") or text.split(" ")[0] in self.audits.expected
        }
        repeated = ["Only tests that failed in an earlier run were run (--last-failed)."]
        excused = (f"{name} could judge a claim and is declared to be no audit." for name in self.audits.excused)
        return (repeated if self.config.getoption("lf", False) else []) + sorted(mine) + sorted(excused)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """A line a claim, and last where the report is."""
        if self.lines:
            terminalreporter.section("diffprivacy", sep="=")
            for line in self.lines:
                terminalreporter.line(visible(line))


def _outcome(report: pytest.TestReport) -> str:
    """What became of a test or subtest; an expected failure, and one that did not come, have words of their own."""
    if not hasattr(report, "wasxfail"):
        return str(report.outcome)
    return "xfailed" if report.skipped else "xpassed"


def _pytest_flags() -> frozenset[str]:
    """The flags of pytest itself, whatever plugins there are."""
    parser = get_config()._parser
    groups = parser._anonymous, *parser._groups
    return frozenset(name for group in groups for option in group.options for name in option.names())
