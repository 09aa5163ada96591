"""Collection: which audits there are, the chosen ones and those that were left out. Hooks, as in the plugin."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import pytest

if TYPE_CHECKING:
    from pytest_diffprivacy.inventory import Reach

MARKER: Final = "diffprivacy"
MARKER_HELP: Final = (
    f"{MARKER}(demonstration=..., audit=True): this test is an audit. `demonstration` says what it shows of a model "
    "that must fail: its claims are to be refuted and count for no PASS. `audit=False`: it is none, whatever it calls."
)


@final
class Audits:
    """The audits of a run.

    Attributes:
        expected: node id of every audit -> "selected" or why not; so for files that may hold some.
        uncollected: files that could not be collected.
        excused: node ids of tests that could judge and are declared to be no audits.
    """

    def __init__(self, config: pytest.Config, worker: bool) -> None:
        self.config, self.worker = config, worker
        self.expected: dict[str, str] = {}
        self.uncollected: dict[str, str] = {}
        self.excused: set[str] = set()
        self._offered: list[pytest.Item | pytest.Collector] = []
        self._opened: set[object] = set()
        self._items: list[pytest.Item] = []
        self._reached: set[Path] = set()
        self._modules: list[pytest.Module] = []
        self._counted = False

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """What there is in a file, before node ids or --last-failed choose from it."""
        report = yield
        self._opened.add(collector)
        if isinstance(collector, pytest.Module) and report.passed and getattr(collector, "_obj", None) is not None:
            self._reached.add(collector.path)
            self._modules.append(collector)
        if isinstance(collector, (pytest.Module, pytest.Class)):
            self._offered += report.result
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Iterator[None]:
        """Which of the collected tests are chosen?"""
        self._items = list(items)
        yield
        chosen = set(items)  # items, not node ids: xdist's loadgroup renames them in this hook
        self.expected |= {
            item.nodeid: "selected" if item in chosen else "deselected" for item in self._items if self.holds(item)
        }

    def count(self) -> None:
        """Add the audits that the run could have collected and did not."""
        if self._counted or (not self.worker and self.config.getoption("dist", "no") != "no"):
            return  # with xdist the workers collect
        from pytest_diffprivacy.inventory import changed_selection, files_left_out

        self._counted = True
        self.expected |= dict.fromkeys(changed_selection(self.config), "changes which tests there are")
        known, todo, offered = set(self._items), list(self._offered), list[pytest.Item | pytest.Collector]()
        while todo:
            node = todo.pop()
            offered.append(node)
            if isinstance(node, pytest.Class) and node not in self._opened:
                todo += node.collect()
            elif isinstance(node, pytest.Item) and node not in known and self.holds(node):
                self.expected.setdefault(node.nodeid, "not selected")
        for holder in (*self._modules, *(node for node in offered if isinstance(node, pytest.Class))):
            self._add_unoffered(holder, offered)
        for path in files_left_out(self.config, self._reached):
            place = Path(os.path.relpath(path, self.config.rootpath)).as_posix()
            self.expected.setdefault(place, "not collected")

    def _add_unoffered(self, holder: Any, offered: list[pytest.Item | pytest.Collector]) -> None:
        """What is a test by its name, and what nothing made a test of: a hook, an attribute, an option."""
        from pytest_diffprivacy.inventory import named_like_tests

        def of_holder(node: Any) -> bool:  # a test of a class that inherits it is made of it as well
            above = holder.obj if isinstance(holder, pytest.Class) else None
            return node is holder or bool(above and isinstance(node, pytest.Class) and issubclass(node.obj, above))

        names = {getattr(node, "originalname", node.name) for node in offered if of_holder(node.parent)}
        classes = [node.obj for node in offered if isinstance(node, pytest.Class)]
        for name, thing in named_like_tests(holder.obj):
            inherited = isinstance(thing, type) and any(issubclass(found, thing) for found in classes)
            if name not in names and not inherited and self._reach.judges([thing]):
                self.expected.setdefault(f"{holder.nodeid}::{name}", "not collected")

    def holds(self, item: pytest.Item) -> bool:
        """Whether a test judges a claim, or could."""
        from pytest_diffprivacy.inventory import test_roots, uses_our_fixtures

        marks = declared(item)
        if marks is not None and marks.get("audit", True):
            return True
        found = uses_our_fixtures(item) or self._reach.judges(test_roots(item))
        if found and marks is not None:
            self.excused.add(item.nodeid)
        return found and marks is None

    @cached_property
    def _reach(self) -> Reach:
        from pytest_diffprivacy.inventory import Reach

        return Reach()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected may hold audits."""
        if report.failed:
            self.uncollected[report.nodeid] = "not collected"


def declared(item: pytest.Item) -> dict[str, Any] | None:
    """What the marks of a test, its class and its module say of it; None: it has none."""
    marks = [*item.iter_markers(MARKER)]
    said = {name: value for mark in reversed(marks) for name, value in mark.kwargs.items()}
    text = said.get("demonstration", "-")
    if any(mark.args for mark in marks) or said.keys() - {"demonstration", "audit"} or not isinstance(text, str):
        form = MARKER_HELP.partition(":")[0]
        raise pytest.UsageError(f"{item.nodeid}: the mark must be {form} with a text, got {said}. Correct it.")
    return said if marks else None
