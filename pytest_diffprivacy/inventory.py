"""Inventory of files: which files that may hold audits a run did not collect.

A file that was not imported (skipped as a whole, ignored, left out by `--lf` or by what was typed) is known by its text
and that of the files it imports. Standard library only.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.mentions import may_hold_audits

SELECTING: Final = ("python_files", "python_functions", "python_classes", "norecursedirs", "collect_imported_tests")
"""Ini keys of pytest that say which tests there are."""
NO_TESTS: Final = ("*.egg", ".*", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}")
"""Folders that pytest passes over by itself; what a project adds to them (`norecursedirs`) may hold audits."""


def changed_selection(config: Any) -> Iterator[str]:
    """What the command line, or PYTEST_ADDOPTS, says instead of the ini file about which tests there are."""
    for given in config.option.override_ini or ():
        if given.partition("=")[0].strip() in SELECTING:
            yield f"-o {given}"
    if config.option.noconftest:
        yield "--noconftest"


def files_left_out(config: Any, reached: set[Path], own_patterns: Sequence[str] = ()) -> Iterator[Path]:
    """Test files where the run looked, which it did not import and which may hold audits.

    A run looks in the folders that it was given; a file or a test that was given stands for its folder.

    Args:
        config: of the run.
        reached: the files that were imported.
        own_patterns: further names of test files, by an ini file that the run was told not to read.
    """
    patterns = [*config.getini("python_files"), *own_patterns]
    excluded = [pattern for pattern in config.getini("norecursedirs") if pattern in NO_TESTS]
    for folder, below in sorted(_places(config)):
        for path in _test_files(folder, below, patterns, excluded):
            if path not in reached and may_hold_audits(path, config.rootpath, set()):
                yield path


def places(config: Any) -> list[Path]:
    """The folders in which a run looks for tests."""
    return [path for path, _ in sorted(_places(config))]


def _places(config: Any) -> set[tuple[Path, bool]]:
    """Folders, and whether those below them belong to it."""
    given = [Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args]
    if config.option.pyargs:
        given += _of_packages(path.name for path in given if not path.exists())
    return {(path, True) if path.is_dir() else (path.parent, False) for path in given if path.exists()}


def _of_packages(names: Iterable[str]) -> Iterator[Path]:
    """Where the modules and packages lie that `--pyargs` names; pytest has found them."""
    for name in names:
        with suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(name)
            yield from map(Path, (spec and (spec.submodule_search_locations or [spec.origin or ""])) or ())


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
