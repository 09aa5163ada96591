"""Reach: which tests could judge a claim, by the code that they can get to.

A test could judge a claim if its code can reach one of the assertions: in its own body, in a fixture, or in a function
or class of the project that these use. A fixture's name says nothing. Standard library only.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, final

from pytest_diffprivacy.mentions import ASSERTIONS, OURS, foreign, may_hold_audits

AROUND_A_TEST: Final = ("setUp", "setUpClass", "setup_method", "setup_class", "asyncSetUp", "asyncTearDown", "tearDown")
IMPORT_NAME: Final = dis.opmap["IMPORT_NAME"]
BY_NAME: Final = frozenset({"import_module", "importorskip", "__import__"})
MOST_VISITED: Final = 5000


@final
class Reach:
    """Whether code can reach an assertion; remembers what cannot, so that a suite is read once."""

    def __init__(self) -> None:
        self._silent: dict[int, Any] = {}  # the values keep what an id stands for alive

    def judges(self, roots: Iterable[Any]) -> bool:
        """Whether an assertion is reached from functions, classes, names or containers of them."""
        todo, seen = deque(roots), dict[int, Any]()  # the nearest first: a test's own calls before a project's depths
        while todo and len(seen) < MOST_VISITED:
            thing = todo.popleft()
            if id(thing) in seen or id(thing) in self._silent:
                continue
            seen[id(thing)] = thing
            if _is_assertion(thing):
                return True
            todo += _uses(thing)
        if not todo:
            self._silent |= seen
        return False


def test_roots(item: Any) -> Iterator[Any]:
    """Where the code of a test begins: its function, what runs around it, its fixtures and its parameters."""
    yield getattr(item, "obj", None)
    if getattr(item, "cls", None) is not None:
        yield from (getattr(item.cls, name, None) for name in AROUND_A_TEST)
    for definitions in getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {}).values():
        yield definitions[-1].func
    yield getattr(getattr(item, "callspec", None), "params", {})
    yield from _asked_for(item)


def _asked_for(item: Any) -> Iterator[Any]:
    """The fixtures that a test asks for by `request.getfixturevalue`, by the texts in its code."""
    names = set(_names(item.obj.__code__)) if hasattr(getattr(item, "obj", None), "__code__") else set[str]()
    if "getfixturevalue" in names:
        find = item.session._fixturemanager.getfixturedefs
        yield from (definition.func for name in names for definition in find(name, item) or ())


def uses_our_fixtures(item: Any) -> bool:
    """Whether a test uses a fixture as it is defined here; one of the same name in a project says nothing."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return any(_is_ours(definitions[-1].func.__module__) for definitions in known.values())


def first_lines(function: Any) -> Iterator[int]:
    """The first lines of a function and of those that it wraps."""
    while function is not None:
        function = getattr(function, "__func__", function)
        if code := getattr(function, "__code__", None):
            yield code.co_firstlineno
        function = getattr(function, "__wrapped__", None)


def named_like_tests(holder: Any) -> Iterator[tuple[str, Any]]:
    """Functions and classes of a module or class that are tests by pytest's usual names, or unittest's."""
    module = holder.__module__ if isinstance(holder, type) else holder.__name__
    for name, thing in list(vars(holder).items()):
        if getattr(thing, "__module__", None) != module or hasattr(thing, "_pytestfixturefunction"):
            continue
        if isinstance(thing, type):
            above = {f"{base.__module__}.{base.__name__}" for base in thing.__mro__}
            if name.startswith("Test") or "unittest.case.TestCase" in above:
                yield name, thing
        elif isinstance(thing, FunctionType) and name.startswith("test"):
            yield name, thing


def _is_assertion(thing: Any) -> bool:
    if isinstance(thing, str):
        return thing in ASSERTIONS
    if isinstance(thing, Path):  # a file that a function imports, and that was not imported
        return may_hold_audits(thing, thing.parent, set())
    return isinstance(thing, FunctionType) and thing.__name__ in ASSERTIONS and _is_ours(thing.__module__)


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] == OURS


def _uses(thing: Any) -> Iterator[Any]:
    """What a value of a test module can call, one step further."""
    if isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, MethodType):
        yield thing.__func__
        yield type(thing.__self__) if not isinstance(thing.__self__, type) else thing.__self__
    elif isinstance(thing, Mapping):
        yield from list(thing.values())[:100]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from list(thing)[:100]
    elif isinstance(thing, type):
        if not foreign(thing.__module__):
            yield from (*vars(thing).values(), *thing.__bases__)
    elif isinstance(thing, FunctionType):
        yield from _called(thing)
    elif isinstance(thing, (staticmethod, classmethod, property)):
        yield getattr(thing, "__func__", None) or getattr(thing, "fget", None)
    elif not isinstance(thing, (ModuleType, str, bytes, int, float)) and thing is not None:
        yield getattr(thing, "__wrapped__", None)
        if not foreign(type(thing).__module__):
            yield type(thing)


def _called(function: FunctionType) -> Iterator[Any]:
    """The names in a function's code, and what they stand for where they are the project's own."""
    names = set(_names(function.__code__))
    yield from names & ASSERTIONS
    if foreign(function.__module__):
        return
    yield getattr(function, "__wrapped__", None)
    yield from (cell.cell_contents for cell in function.__closure__ or () if _filled(cell))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield value
        yield from _held(value, names, set())
    for name in _imported(function, names):
        if name in sys.modules:
            yield from _held(sys.modules[name], names, set())
        elif not foreign(name):
            yield from _files(name, Path(function.__code__.co_filename).parent)


def _held(value: Any, names: set[str], seen: set[int]) -> Iterator[Any]:
    """What a module of the project holds under these names, and its modules that are among them."""
    if isinstance(value, ModuleType) and id(value) not in seen and not foreign(value.__name__):
        seen.add(id(value))
        for own in names & vars(value).keys():
            yield vars(value)[own]
            yield from _held(vars(value)[own], names, seen)


def _imported(function: FunctionType, names: set[str]) -> Iterator[str]:
    """The modules that a function imports when it is called."""
    package = function.__globals__.get("__package__") or ""
    for level, name, members in _import_statements(function.__code__):
        with suppress(ImportError):  # of a relative import beyond the top: it fails when it is called as well
            module = importlib.util.resolve_name("." * level + name, package) if level else name
            yield module
            yield from (f"{module}.{member}" for member in members)
    if names & BY_NAME:
        yield from (name for name in names if name.replace(".", "").isidentifier())


def _import_statements(code: CodeType) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Level, module and members of each import statement in a function's code, and in the functions in it."""
    if IMPORT_NAME in code.co_code[::2]:
        steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
        for level, members, step in zip(steps, steps[1:], steps[2:], strict=False):
            if step.opname == "IMPORT_NAME" and isinstance(level.argval, int):
                yield level.argval, str(step.argval), tuple(members.argval or ())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _import_statements(constant)


def _files(module: str, folder: Path) -> Iterator[Path]:
    """The file of a module of the project that is not loaded: beside the code that imports it, or on the path."""
    place = Path(*module.split("."))
    for root in (folder, *map(Path, sys.path)):
        if "site-packages" not in root.parts and "dist-packages" not in root.parts:
            yield from (file for file in (root / f"{place}.py", root / place / "__init__.py") if file.is_file())


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _names(code: CodeType) -> Iterator[str]:
    """Globals, attributes, imports and texts of a function's code, and of the functions in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _names(constant)
