"""Collection: which audits there are, the chosen ones and those that were left out. Hooks, as in the plugin."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import pytest
from _pytest.config.findpaths import load_config_dict_from_file

if TYPE_CHECKING:
    from pytest_diffprivacy.reach import Reach

MARKER: Final = "diffprivacy"
MARKER_HELP: Final = (
    f"{MARKER}(demonstration=..., audit=True): this test is an audit. `demonstration` says what it shows of a model "
    "that must fail: its claims are to be refuted and count for no PASS. `audit=False`: it is none, whatever it calls."
)

INI_FILES: Final = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
"""Where pytest looks for its own settings, in its order."""


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
        self._known: set[pytest.Item] = set()
        self._chosen: set[pytest.Item] = set()
        self._could: set[pytest.Item] = set()
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
        self._items, self._known = list(items), set(items)
        self._could = {item for item in items if self._could_judge(item)}  # before a hook puts something else in it
        yield
        self._chosen = set(items)  # items, not node ids: xdist's loadgroup renames them in this hook
        self.expected |= {item.nodeid: self._state(item) for item in self._items if self.holds(item)}

    def _state(self, item: pytest.Item) -> str:
        if item in self._chosen:
            return "selected"
        return "deselected" if item in self._known else "not selected"

    def count(self) -> None:
        """Add the audits that the run could have collected and did not."""
        if self._counted or (not self.worker and self.config.getoption("dist", "no") != "no"):
            return  # with xdist the workers collect
        from pytest_diffprivacy.inventory import changed_selection, files_left_out

        self._counted = True
        self.expected |= dict.fromkeys(changed_selection(self.config), "changes which tests there are")
        todo, offered = list(self._offered), list[pytest.Item | pytest.Collector]()
        while todo:
            node = todo.pop()
            offered.append(node)
            if isinstance(node, pytest.Class) and node not in self._opened:
                todo += node.collect()
            elif isinstance(node, pytest.Item) and node not in self._known and self.holds(node):
                self.expected.setdefault(node.nodeid, self._state(node))
        for module in self._modules:
            self._add_defined(module, [node for node in offered if isinstance(node, pytest.Function)])
        for holder in (*self._modules, *(node for node in offered if isinstance(node, pytest.Class))):
            self._add_unoffered(holder, offered)
        for path in files_left_out(self.config, self._reached, _own_patterns(self.config)):
            place = Path(os.path.relpath(path, self.config.rootpath)).as_posix()
            self.expected.setdefault(place, "not collected")

    def _add_unoffered(self, holder: Any, offered: list[pytest.Item | pytest.Collector]) -> None:
        """What is a test by its name, and what nothing made a test of: a hook, an attribute, an option."""
        from pytest_diffprivacy.reach import named_like_tests

        def of_holder(node: Any) -> bool:  # a test of a class that inherits it is made of it as well
            above = holder.obj if isinstance(holder, pytest.Class) else None
            return node is holder or bool(above and isinstance(node, pytest.Class) and issubclass(node.obj, above))

        names = {getattr(node, "originalname", node.name) for node in offered if of_holder(node.parent)}
        classes = [node.obj for node in offered if isinstance(node, pytest.Class)]
        for name, thing in named_like_tests(holder.obj):
            inherited = isinstance(thing, type) and any(issubclass(found, thing) for found in classes)
            if name not in names and not inherited and self._reach.judges([thing]):
                self.expected.setdefault(f"{holder.nodeid}::{name}", "not collected")

    def _add_defined(self, module: pytest.Module, offered: list[pytest.Function]) -> None:
        """What the file of a module defines as tests, where something else or nothing stands under its name."""
        from pytest_diffprivacy.definitions import hidden, tests_by_name
        from pytest_diffprivacy.reach import first_lines

        own = vars(module.obj)
        for name, found in tests_by_name(module.path).items():
            judging = [
                one for one in found if one.asserts or self._reach.judges(own[n] for n in one.names & own.keys())
            ]
            lost = set(hidden(found)).intersection(judging)
            for one in lost:
                place = f"{module.nodeid}::{name} (line {one.lines[0]})"
                self.expected.setdefault(place, "hidden by a later test of its name")
            lines = [one.lines for one in judging if one not in lost]
            made = [item for item in offered if _made_of(item, module, name)]
            if lines and not made:
                self.expected.setdefault(f"{module.nodeid}::{name}", "not collected")
            for item in made if lines else ():
                inside = any(first <= line <= last for line in first_lines(item.obj) for first, last in lines)
                excused = declared(item) is not None
                if not inside and not excused and _full_name(item) == name:
                    self.expected.setdefault(item.nodeid, self._state(item))

    def holds(self, item: pytest.Item) -> bool:
        """Whether a test judges a claim, or could."""
        marks = declared(item)
        if marks is not None and marks.get("audit", True):
            return True
        found = item in self._could or self._could_judge(item)
        if found and marks is not None:
            self.excused.add(item.nodeid)
        return found and marks is None

    def _could_judge(self, item: pytest.Item) -> bool:
        from pytest_diffprivacy.reach import test_roots, uses_our_fixtures

        return uses_our_fixtures(item) or self._reach.judges(test_roots(item))

    @cached_property
    def _reach(self) -> Reach:
        from pytest_diffprivacy.reach import Reach

        return Reach()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected may hold audits."""
        if report.failed:
            self.uncollected[report.nodeid] = "not collected"


def _own_patterns(config: pytest.Config) -> list[str]:
    """Which files hold tests by the project's own ini file, where another one was named on the command line."""
    from pytest_diffprivacy.inventory import places

    named = config.option.inifilename
    folders = [above for place in places(config) for above in (place, *place.parents)] if named else []
    for path in (folder / name for folder in folders for name in INI_FILES):
        with suppress(pytest.UsageError):  # a file that is not used may be broken
            if path.is_file() and (found := load_config_dict_from_file(path)) is not None:
                given: Any = getattr(found.get("python_files"), "value", found.get("python_files", ""))
                return given.split() if isinstance(given, str) else list(map(str, given))
    return []


def _made_of(item: pytest.Function, module: pytest.Module, name: str) -> bool:
    """Whether a test is made of what stands under a name in a module; one of a class that inherits it is."""
    *classes, function = name.split("::")
    holder: Any = module.obj
    for within in classes:
        holder = getattr(holder, within, None)
    if item.originalname != function or not classes:
        return _full_name(item) == name and item.getparent(pytest.Module) is module
    return isinstance(holder, type) and item.cls is not None and issubclass(item.cls, holder)


def _full_name(item: pytest.Function) -> str:
    """The name of a test's function behind those of the classes around it."""
    classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    return "::".join([*classes, item.originalname])


def declared(item: pytest.Item) -> dict[str, Any] | None:
    """What the marks of a test, its class and its module say of it; None: it has none."""
    marks = [*item.iter_markers(MARKER)]
    said = {name: value for mark in reversed(marks) for name, value in mark.kwargs.items()}
    text = said.get("demonstration", "-")
    if any(mark.args for mark in marks) or said.keys() - {"demonstration", "audit"} or not isinstance(text, str):
        form = MARKER_HELP.partition(":")[0]
        raise pytest.UsageError(f"{item.nodeid}: the mark must be {form} with a text, got {said}. Correct it.")
    return said if marks else None
