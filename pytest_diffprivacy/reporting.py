"""Reporting: what the report of a test says of its claims, on the terminal and in JUnit. Hooks, as in the plugin."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, final

import pytest
from _pytest.junitxml import xml_key

from pytest_diffprivacy.collection import declared
from pytest_diffprivacy.errors import (
    AuditError,
    DiffPrivacyError,
    Inconclusive,
    ModelError,
    PrivacyViolation,
    Regression,
    UsageError,
)
from pytest_diffprivacy.visible import visible

if TYPE_CHECKING:
    from pytest_diffprivacy.collection import Audits
    from pytest_diffprivacy.options import Settings


@final
class Reports:
    """The reports of tests that judge claims: their verdicts in pytest's words, and letters of their own."""

    def __init__(self, config: pytest.Config, settings: Settings, audits: Audits) -> None:
        self.config, self.audits = config, audits
        self.inconclusive, self.planning = str(settings["inconclusive"]), bool(settings["plan"])

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
        """JUnit: a claim that could not be judged is an error; pytest says failure of whatever a test raises."""
        junit = self.config.stash.get(xml_key, None)
        if junit is None or getattr(report, "diffprivacy", None) != "ERROR":
            return
        for element in junit.node_reporter(report).nodes:
            if element.tag == "failure":
                element.tag = "error"
                junit.stats["failure"] -= 1
                junit.stats["error"] += 1

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The INCONCLUSIVE claims in full, and the plans."""
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

    @pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_terminal_summary")
    def pytest_terminal_summary_counts(self, terminalreporter: Any) -> Generator[None, Any, Any]:
        """INCONCLUSIVE claims are counted on their own again, after pytest's short summary has listed them."""
        result = yield
        failed = terminalreporter.stats.get("failed", [])
        failed[:] = [report for report in failed if getattr(report, "diffprivacy", None) != "INCONCLUSIVE"]
        if not failed:
            terminalreporter.stats.pop("failed", None)
        return result


def _category(error: DiffPrivacyError) -> str:
    if isinstance(error, (PrivacyViolation, Regression)):
        return "FAIL"
    if isinstance(error, Inconclusive):
        return "INCONCLUSIVE"
    return "ERROR" if isinstance(error, AuditError) else "USAGE"
