"""pytest's hooks, and nothing else. Importing this file loads the standard library and pytest only."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import pytest
from _pytest.config import get_config
from _pytest.junitxml import xml_key

from pytest_diffprivacy import options
from pytest_diffprivacy.collection import MARKER_HELP, Audits, declared
from pytest_diffprivacy.declaration import find_declaration
from pytest_diffprivacy.errors import (
    AuditError,
    DiffPrivacyError,
    EvidenceError,
    Inconclusive,
    ModelError,
    PrivacyViolation,
    Regression,
    UsageError,
)
from pytest_diffprivacy.fixtures import diffprivacy, diffusion_model, probe_set
from pytest_diffprivacy.inventory import places
from pytest_diffprivacy.options.outputs import take_away, take_away_outputs, typed_reports, withdraw_card
from pytest_diffprivacy.options.redo import Redo, called, option_words
from pytest_diffprivacy.policy import find_policy
from pytest_diffprivacy.progress import Uncaptured
from pytest_diffprivacy.visible import visible

__all__ = ["diffprivacy", "diffusion_model", "probe_set"]

RUN_KEY, REDO_KEY, EXCUSED_KEY = "diffprivacy_run", "diffprivacy_redo", "diffprivacy_excused"
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
    config.pluginmanager.register(run, "diffprivacy-run")
    config.pluginmanager.register(run.audits, "diffprivacy-audits")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Forget the session; a run inside another run gives the outer one its own back."""
    if OUTER_SESSION in config.stash:
        options.activate(config.stash[OUTER_SESSION])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Generator[None, Any, Any]:
    """INCONCLUSIVE claims are counted on their own again, after pytest's short summary has listed them."""
    result = yield
    failed = terminalreporter.stats.get("failed", [])
    failed[:] = [report for report in failed if getattr(report, "diffprivacy", None) != "INCONCLUSIVE"]
    if not failed:
        terminalreporter.stats.pop("failed", None)
    return result


@final
class _AuditRun:
    """What one pytest run knows about its audits."""

    def __init__(self, config: pytest.Config, session: options.Session, started: datetime, worker: bool) -> None:
        self.config, self.started, self.worker = config, started, worker
        self.redo = session.redo.words if session.redo else ()
        self.settings, self.run_id, self.limits = session.settings, session.run_id, session.policy
        self.declared = session.declared
        self.asked = bool(self.settings["report"])
        self.inconclusive = str(self.settings["inconclusive"])
        self.planning = bool(self.settings["plan"])
        self.audits = Audits(config, worker)
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.happened: list[str] = []
        self.lost_workers = False
        self.started_tests: set[str] = set()
        self.lines: list[str] = []

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

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Our exceptions show their own block, no traceback; INCONCLUSIVE follows the policy."""
        report = yield
        error = call.excinfo.value if call.excinfo else None
        self._add_claims(item, report, error)
        if self.planning and call.when == "call":
            self._planned(item, report, error)
            return report
        if isinstance(error, DiffPrivacyError) and getattr(report, "diffprivacy", None) is None:
            block = visible(f"{type(error).__name__}: {error}")
            if report.outcome == "failed" and not self.config.option.fulltrace:
                report.longrepr = block
            report.diffprivacy = _category(error)
            if isinstance(error, Inconclusive) and report.outcome == "failed" and self.inconclusive != "fail":
                report.outcome = "passed" if self.inconclusive == "warn" else "skipped"
                path, line, _ = item.location
                report.longrepr = (
                    None if self.inconclusive == "warn" else (path, line or 0, visible(f"Skipped: {error}"))
                )
                report.diffprivacy_text = block
        return report

    def _add_claims(self, item: pytest.Item, report: Any, error: BaseException | None) -> None:
        """What a test left unjudged, and whether a demonstration has shown what it is declared to show."""
        marks = declared(item) or {}
        report.diffprivacy_demonstration = shows = marks.get("demonstration")
        if "pytest_diffprivacy.audit.current" not in sys.modules or not marks.get("audit", True):
            return
        from pytest_diffprivacy.audit import current_auditor

        auditor = current_auditor()
        report.diffprivacy_unjudged, auditor.unjudged = auditor.unjudged, []
        own = [claim for claim in auditor.claims if claim.node_id == item.nodeid]
        verdicts = [claim.verdict for claim in own]
        if not shows or self.planning or report.when != "call" or not verdicts:
            return
        held = [claim for claim in own if claim.verdict == "PASS"]
        if held:
            report.outcome, report.diffprivacy = "failed", "FAIL"
            said = f"The demonstration failed. {held[0].sentence}: it holds. To be shown was: {shows}"
            report.longrepr = visible(said)
        elif isinstance(error, PrivacyViolation) or (error is None and "FAIL" in verdicts):
            report.outcome, report.longrepr, report.diffprivacy = "passed", None, "DEMONSTRATED"

    def _planned(self, item: pytest.Item, report: Any, error: BaseException | None) -> None:
        """A test whose claims were planned is neither passed nor failed, whatever it made of their results."""
        from pytest_diffprivacy.audit import current_auditor

        if isinstance(error, UsageError) and not isinstance(error, ModelError):
            report.longrepr = visible(f"{type(error).__name__}: {error}")
            return
        auditor = current_auditor()
        plans, auditor.plans = auditor.plans, []
        if plans or (self.audits.holds(item) and report.failed):
            report.outcome, report.longrepr, report.diffprivacy = "passed", None, "PLANNED"
            report.diffprivacy_plans = plans or [[f"not planned, because it needs its model: {error}"]]

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        """INCONCLUSIVE has its own letter and count; an audit that could not judge is an error."""
        category = getattr(report, "diffprivacy", None)
        if category == "PLANNED":
            return "planned", "p", ("PLANNED", {"yellow": True})
        if category is None or hasattr(report, "wasxfail"):
            return None
        if category == "DEMONSTRATED":
            return "demonstrated", "d", ("DEMONSTRATED", {"green": True})
        if category == "INCONCLUSIVE":
            return "inconclusive", "i", ("INCONCLUSIVE", {"yellow": True})
        if category == "ERROR" and report.failed:
            return "error", "E", ("ERROR", {"red": True})
        return None

    @pytest.hookimpl(trylast=True)  # pytest's JUnit file has taken the report
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what became of each test; kept only for audits."""
        if getattr(report, "diffprivacy", None) == "ERROR":
            self._junit_error(report)
        if report.when == "setup" and report.nodeid in self.started_tests:
            self.happened.append(f"{report.nodeid} was run again.")
        if report.when == "setup":
            self.started_tests.add(report.nodeid)
        before = self.outcomes.get(report.nodeid, {})
        unjudged = [] if report.when == "setup" else before.get("unjudged", [])
        found = {**before, "unjudged": unjudged + (getattr(report, "diffprivacy_unjudged", None) or [])}
        found["demonstration"] = getattr(report, "diffprivacy_demonstration", None) or before.get("demonstration")
        if report.when == "call" or report.outcome != "passed":
            expected = hasattr(report, "wasxfail")
            found |= {
                "outcome": "xfailed" if expected and report.skipped else "xpassed" if expected else report.outcome,
                "failed_before": before.get("failed_before") or before.get("outcome") in ("failed", "rerun"),
                "detail": "crashed" if str(report.when) == "???" else getattr(report, "diffprivacy", None) or "",
            }
        self.outcomes[report.nodeid] = found

    @pytest.hookimpl(tryfirst=True)  # pytest's JUnit file is written in the same hook
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Put the run together and write the reports; workers only say what they collected."""
        if self.planning:
            return
        if self._has_records() or any(found.get("unjudged") for found in self.outcomes.values()):
            self.audits.count()
        if self.worker:
            output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
            output[RUN_KEY], output[EXCUSED_KEY] = self.audits.expected, sorted(self.audits.excused)
            return
        raised = any(found.get("unjudged") for found in self.outcomes.values())
        typed = self.settings.origin("report") == "command line"
        if session.config.option.collectonly or not (self.audits.expected or typed or raised or self._has_records()):
            return
        from pytest_diffprivacy.audit.catalogue import known_methods
        from pytest_diffprivacy.conclusion import is_red, write_documents
        from pytest_diffprivacy.evidence.pictures import redacted_command
        from pytest_diffprivacy.evidence.runs import PytestRun, conclude_run
        from pytest_diffprivacy.report.lines import junit_properties, run_lines

        try:
            seen = PytestRun(
                self.started,
                redacted_command(["pytest", *map(str, self.config.invocation_params.args)], _pytest_flags()),
                self.audits.uncollected | self.audits.expected,
                self.outcomes,
                self._incidents(),
            )
            run = conclude_run(
                self._folder(),
                self.settings,
                seen,
                policy=self.limits,
                catalogue=known_methods(),
                declared=self.declared,
            )
            if session.exitstatus == pytest.ExitCode.OK and (self.lost_workers or is_red(run, self.settings)):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.lines = run_lines(run)
            self.lines += write_documents(run, self.settings)
        except DiffPrivacyError as error:
            self.lines.append(f"ERROR         the report was not written: {error}")
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            return
        junit = self.config.stash.get(xml_key, None)
        if junit is not None:
            for name, value in junit_properties(run):
                junit.add_global_property(name, value)
        if bool(self.settings["update-baseline"]):
            self._update_baseline(session, run)

    def _update_baseline(self, session: pytest.Session, run: Any) -> None:
        from pytest_diffprivacy.conclusion import new_baseline

        try:
            self.lines.append(new_baseline(run, self.settings, self._folder().folder, chosen=self._chosen()))
        except DiffPrivacyError as error:
            self.lines.append(f"ERROR         {error}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _junit_error(self, report: pytest.TestReport) -> None:
        """JUnit: a claim that could not be judged is an error; pytest says failure of whatever a test raises."""
        junit = self.config.stash.get(xml_key, None)
        if junit is None:
            return
        for element in junit.node_reporter(report).nodes:
            if element.tag == "failure":
                element.tag = "error"
                junit.stats["failure"] -= 1
                junit.stats["error"] += 1

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
        """The INCONCLUSIVE claims in full, then a line a claim, and last where the report is."""
        inconclusive = terminalreporter.stats.get("inconclusive", [])
        if inconclusive:  # pytest's short summary, which is written next, lists what failed; afterwards they go again
            terminalreporter.stats["failed"] = [*terminalreporter.stats.get("failed", []), *inconclusive]
        for report in inconclusive:
            terminalreporter.section(f"{report.nodeid}: INCONCLUSIVE", sep="_", yellow=True)
            terminalreporter.line(getattr(report, "diffprivacy_text", None) or str(report.longrepr))
        for report in terminalreporter.stats.get("planned", []):
            terminalreporter.section(report.nodeid, sep="_")
            for plan in report.diffprivacy_plans:
                for line in plan:
                    terminalreporter.line(visible(line))
        if self.lines:
            terminalreporter.section("diffprivacy", sep="=")
            for line in self.lines:
                terminalreporter.line(visible(line))


def _pytest_flags() -> frozenset[str]:
    """The flags of pytest itself, whatever plugins there are."""
    parser = get_config()._parser
    groups = parser._anonymous, *parser._groups
    return frozenset(name for group in groups for option in group.options for name in option.names())


def _category(error: DiffPrivacyError) -> str:
    if isinstance(error, (PrivacyViolation, Regression)):
        return "FAIL"
    if isinstance(error, Inconclusive):
        return "INCONCLUSIVE"
    return "ERROR" if isinstance(error, AuditError) else "USAGE"
