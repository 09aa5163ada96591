"""Inventory of audits: which tests could judge a claim, and which files with such tests a run did not collect.

A test could judge a claim if its code can reach one of the assertions: in its own body, in a fixture, or in a function
or class of the project that these use. A fixture's name says nothing. A file that was not imported (skipped as a whole,
ignored, left out by `--lf` or by what was typed) is known by its text and that of the files it imports. Standard
library only.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, final

import pytest_diffprivacy

OURS: Final = "pytest_diffprivacy"
ASSERTIONS: Final = frozenset(name for name in dir(pytest_diffprivacy) if name.startswith("assert_"))
MENTIONED: Final = re.compile(rf"\b({'|'.join(sorted(ASSERTIONS))}|diffprivacy|from {OURS} import \*)(?!\w)")
SELECTING: Final = ("python_files", "python_functions", "python_classes", "norecursedirs", "collect_imported_tests")
"""Ini keys of pytest that say which tests there are."""
BEFORE_A_TEST: Final = ("setUp", "setUpClass", "setup_method", "setup_class")
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
    """Where the code of a test begins: its function, what runs before it, its fixtures and its parameters."""
    yield getattr(item, "obj", None)
    if getattr(item, "cls", None) is not None:
        yield from (getattr(item.cls, name, None) for name in BEFORE_A_TEST)
    for definitions in getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {}).values():
        yield definitions[-1].func
    yield getattr(getattr(item, "callspec", None), "params", {})


def uses_our_fixtures(item: Any) -> bool:
    """Whether a test uses a fixture as it is defined here; one of the same name in a project says nothing."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return any(_is_ours(definitions[-1].func.__module__) for definitions in known.values())


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


def changed_selection(config: Any) -> Iterator[str]:
    """What the command line, or PYTEST_ADDOPTS, says instead of the ini file about which tests there are."""
    for given in config.option.override_ini or ():
        if given.partition("=")[0].strip() in SELECTING:
            yield f"-o {given}"


def _is_assertion(thing: Any) -> bool:
    if isinstance(thing, str):
        return thing in ASSERTIONS
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
        if not _foreign(thing.__module__):
            yield from (*vars(thing).values(), *thing.__bases__)
    elif isinstance(thing, FunctionType):
        yield from _called(thing)
    elif isinstance(thing, (staticmethod, classmethod, property)):
        yield getattr(thing, "__func__", None) or getattr(thing, "fget", None)
    elif not isinstance(thing, (ModuleType, str, bytes, int, float)) and thing is not None:
        yield getattr(thing, "__wrapped__", None)
        if not _foreign(type(thing).__module__):
            yield type(thing)


def _called(function: FunctionType) -> Iterator[Any]:
    """The names in a function's code, and what they stand for where they are the project's own."""
    names = set(_names(function.__code__))
    yield from names & ASSERTIONS
    if _foreign(function.__module__):
        return
    yield getattr(function, "__wrapped__", None)
    yield from (cell.cell_contents for cell in function.__closure__ or () if _filled(cell))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield value
        if isinstance(value, ModuleType) and not _foreign(value.__name__):
            yield from (vars(value)[own] for own in names & vars(value).keys())


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


@functools.cache
def _foreign(module: str | None) -> bool:
    """Whether a module is not the project's own: of the standard library, an installed package, or of ours."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names or top in (OURS, "_pytest"):
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def files_left_out(config: Any, reached: set[Path]) -> Iterator[Path]:
    """Test files where the run looked, which it did not import and which may hold audits.

    A run looks in the folders that it was given; a file or a test that was given stands for its folder.
    """
    for folder, below in sorted(_places(config)):
        for path in _test_files(folder, below, config.getini("python_files"), config.getini("norecursedirs")):
            if path not in reached and may_hold_audits(path, config.rootpath, set()):
                yield path


def places(config: Any) -> list[Path]:
    """The folders in which a run looks for tests."""
    return [path for path, _ in sorted(_places(config))]


def _places(config: Any) -> set[tuple[Path, bool]]:
    """Folders, and whether those below them belong to it."""
    given = [Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args]
    return {(path, True) if path.is_dir() else (path.parent, False) for path in given if path.exists()}


def _test_files(folder: Path, below: bool, patterns: Sequence[str], excluded: Sequence[str]) -> Iterator[Path]:
    visited = set[str]()  # pytest follows links to folders
    for root, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(root) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(root))
        kept = (name for name in folders if not any(fnmatch(name, pattern) for pattern in excluded))
        folders[:] = (
            [n for n in kept if n != "__pycache__" and not Path(root, n, "pyvenv.cfg").exists()] if below else []
        )
        for name in sorted(files):
            path = Path(root, name)
            if name.endswith(".py") and any(fnmatch(name, p) or path.match(p) for p in patterns):
                yield path


def may_hold_audits(path: Path, root: Path, seen: set[Path]) -> bool:
    """Whether the text of a file, or of a file that it imports from the project, names an assertion or our fixture."""
    seen.add(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    if MENTIONED.search(text):
        return True
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    imported = {file for name in _imports(tree) for file in _own_files(name, path, root)}
    return any(may_hold_audits(file, root, seen) for file in sorted(imported) if file not in seen)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (".".join(filter(None, [node.module, alias.name])) for alias in node.names)


def _own_files(module: str, path: Path, root: Path) -> Iterator[Path]:
    """The file of a module beside this one, below the project's root, or already imported from elsewhere in it."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded and not _foreign(module):
        yield Path(loaded)
    place = Path(*module.split("."))
    for folder in (path.parent, path.parent.parent, root):
        yield from (
            file for file in (folder / f"{place}.py", folder / place / "__init__.py") if module and file.is_file()
        )
